"""ClusterService: the members, and the cluster at a glance, whatever its nodes do."""

from dataclasses import replace

import grpc

from garbagetruck.cluster.api.gateway import NoLeader, TransferFailed
from garbagetruck.cluster.api.ports import NodeRole, NodeStatus
from garbagetruck.cluster.machine.operations import SettleMember
from garbagetruck.v1 import cluster_pb2, lease_pb2
from tests.unit.api.stand import INVALID, Stand, refusal

NEW = cluster_pb2.Member(id="n4", api="host-4:1", http="host-4:2", raft="127.0.0.1:7304", peer="127.0.0.1:7404")
REFUSED = grpc.StatusCode.FAILED_PRECONDITION


async def test_the_members_are_listed(api: Stand) -> None:
    members = (await api.cluster.ListMembers(cluster_pb2.ListMembersRequest())).members
    assert [(member.id, member.api, member.disk_id) for member in members] == [
        (f"n{number}", f"127.0.0.1:{7100 + number}", f"d{number}") for number in (1, 2, 3)
    ]


async def status_of(api: Stand) -> cluster_pb2.ClusterStatus:
    return (await api.cluster.GetStatus(cluster_pb2.GetStatusRequest())).status


async def test_the_status_of_a_healthy_cluster_has_no_warning(api: Stand) -> None:
    await api.leases.Acquire(lease_pb2.AcquireRequest(resource="a", holder="h", ttl_ms=1_000))
    status = await status_of(api)
    assert (status.healthy, list(status.warnings), status.leader_id) == (True, [], "n1")
    assert [(node.id, node.role, node.reachable) for node in status.nodes] == [
        ("n1", cluster_pb2.NODE_ROLE_LEADER, True),
        ("n2", cluster_pb2.NODE_ROLE_FOLLOWER, True),
        ("n3", cluster_pb2.NODE_ROLE_FOLLOWER, True),
    ]
    assert (status.leases, status.resources, status.incarnation) == (1, 1, 1)
    assert status.nodes[0].digest == (99).to_bytes(8, "big")
    assert status.bounds.ttl_ms_min == 100


async def test_the_status_tells_who_does_not_answer_and_what_it_last_said(api: Stand) -> None:
    await status_of(api)
    api.peers.unreachable.add("n2")
    api.peers.silent.add("n3")
    status = await status_of(api)
    assert not status.healthy
    assert [(node.role, node.reachable, node.applied_index) for node in status.nodes[1:]] == [
        (cluster_pb2.NODE_ROLE_UNREACHABLE, False, 7)
    ] * 2
    assert list(status.warnings) == [
        "n2 (127.0.0.1:7102) does not answer",
        "n3 (127.0.0.1:7103) does not answer",
    ]


async def test_the_status_is_answered_without_a_leader(api: Stand) -> None:
    api.gateway.leader_id = ""
    api.gateway.failure = NoLeader("nobody leads")
    status = await status_of(api)
    assert (status.healthy, status.leader_id) == (False, "")
    assert list(status.warnings) == ["no leader is known"]


async def test_i3_the_status_tells_of_digests_that_differ_at_one_index_and_of_nodes_that_lag(api: Stand) -> None:
    def says(node: str, applied: int, digest: int) -> None:
        api.peers.statuses[node] = NodeStatus(node, NodeRole.FOLLOWER, 1, applied, 2_000, "0.1.0", digest, 1_000)

    says("n2", 7, 98)
    says("n3", 1_999, 5)
    warnings = list((await status_of(api)).warnings)
    assert len(warnings) == 3
    assert warnings[:2] == [
        "n1 has 1993 entries of the log still to apply",
        "n2 has 1993 entries of the log still to apply",
    ]
    assert warnings[2].startswith("n1 and n2 disagree about the state at index 7")


# -- members ------------------------------------------------------------------------------------------------------


async def test_a_member_is_added_as_a_learner_and_listed_with_all_that_is_known_of_it(api: Stand) -> None:
    added = (await api.cluster.AddMember(cluster_pb2.AddMemberRequest(member=NEW))).member
    expected = cluster_pb2.Member()
    expected.CopyFrom(NEW)
    expected.role = cluster_pb2.MEMBER_ROLE_LEARNER
    assert added == expected
    listed = (await api.cluster.ListMembers(cluster_pb2.ListMembersRequest())).members
    assert listed[3] == expected
    assert (listed[0].role, listed[0].version, listed[0].feature_level) == (cluster_pb2.MEMBER_ROLE_VOTER, "0.1.0", 2)


async def test_i6_a_repeated_change_of_membership_is_one(api: Stand) -> None:
    adding = cluster_pb2.AddMemberRequest(member=NEW, request_id="a")
    first = await api.cluster.AddMember(adding)
    assert (await api.cluster.AddMember(adding)).member == first.member
    removing = cluster_pb2.RemoveMemberRequest(member_id="n4", request_id="r")
    gone = await api.cluster.RemoveMember(removing)
    assert (await api.cluster.RemoveMember(removing)).member == gone.member


async def test_a_repeated_removal_is_answered_though_few_are_reachable_by_then(api: Stand) -> None:
    removing = cluster_pb2.RemoveMemberRequest(member_id="n3", request_id="r")
    first = await api.cluster.RemoveMember(removing)
    api.peers.unreachable.add("n2")
    assert (await api.cluster.RemoveMember(removing)).member == first.member
    api.gateway.apply(SettleMember("n3", "gone"))
    assert (await api.cluster.RemoveMember(removing)).member == first.member


async def test_a_second_change_is_refused_and_names_the_first(api: Stand) -> None:
    await api.cluster.AddMember(cluster_pb2.AddMemberRequest(member=NEW))
    told = await refusal(api.cluster.RemoveMember(cluster_pb2.RemoveMemberRequest(member_id="n3")))
    assert (told.code, told.reason) == (REFUSED, "MEMBERSHIP_CHANGE_PENDING")
    assert told.info.metadata["member"] == "n4"


async def test_a_member_that_is_there_already_is_refused(api: Stand) -> None:
    taken = cluster_pb2.Member()
    taken.CopyFrom(NEW)
    taken.id = "n2"
    told = await refusal(api.cluster.AddMember(cluster_pb2.AddMemberRequest(member=taken)))
    assert (told.code, told.reason) == (grpc.StatusCode.ALREADY_EXISTS, "MEMBER_EXISTS")
    assert told.bad_fields == ["member.id"]


async def test_a_member_that_this_nodes_settings_will_not_have_is_refused_without_a_trace(api: Stand) -> None:
    exposed = cluster_pb2.Member()
    exposed.CopyFrom(NEW)
    exposed.raft = "10.0.0.4:7304"
    with api.untouched():
        told = await refusal(api.cluster.AddMember(cluster_pb2.AddMemberRequest(member=exposed)))
    assert (told.code, told.bad_fields) == (INVALID, ["member.raft"])


async def test_a_removal_that_would_leave_no_majority_is_refused_and_tells_who_is_missing(api: Stand) -> None:
    api.peers.unreachable.add("n2")
    for removed in ("n3", "n1"):
        with api.untouched():
            told = await refusal(api.cluster.RemoveMember(cluster_pb2.RemoveMemberRequest(member_id=removed)))
        assert (told.code, told.reason) == (REFUSED, "QUORUM_AT_RISK")
        assert dict(told.info.metadata) == {"reachable": "1", "remaining": "2"}
        assert "bring back n2 first" in told.message
    await api.cluster.RemoveMember(cluster_pb2.RemoveMemberRequest(member_id="n2"))


async def test_a_learner_counts_in_no_majority(api: Stand) -> None:
    await api.cluster.AddMember(cluster_pb2.AddMemberRequest(member=NEW))
    api.peers.unreachable |= {"n2", "n4"}
    await api.cluster.RemoveMember(cluster_pb2.RemoveMemberRequest(member_id="n4"))
    told = await refusal(api.cluster.RemoveMember(cluster_pb2.RemoveMemberRequest(member_id="n3")))
    assert told.reason == "QUORUM_AT_RISK"


async def test_nobody_is_removed_who_is_no_member(api: Stand) -> None:
    told = await refusal(api.cluster.RemoveMember(cluster_pb2.RemoveMemberRequest(member_id="n9")))
    assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "MEMBER_NOT_FOUND")


async def test_what_keeps_a_change_of_membership_waiting_is_a_warning(api: Stand) -> None:
    own = api.peers.statuses["n1"]
    api.peers.statuses["n1"] = replace(own, membership_waits="n4 joins: nobody has come under this name yet")
    assert list((await status_of(api)).warnings) == ["n4 joins: nobody has come under this name yet"]


# -- who leads ----------------------------------------------------------------------------------------------------


async def test_leadership_goes_where_it_is_asked_to_go(api: Stand) -> None:
    answer = await api.cluster.TransferLeadership(cluster_pb2.TransferLeadershipRequest(member_id="n3"))
    assert (answer.leader_id, answer.header.leader_id) == ("n3", "n3")
    answer = await api.cluster.TransferLeadership(cluster_pb2.TransferLeadershipRequest())
    assert answer.leader_id == "n2"


async def test_leadership_is_not_handed_to_a_stranger(api: Stand) -> None:
    told = await refusal(api.cluster.TransferLeadership(cluster_pb2.TransferLeadershipRequest(member_id="n9")))
    assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "MEMBER_NOT_FOUND")


async def test_a_transfer_that_came_to_nothing_says_so(api: Stand) -> None:
    api.gateway.failure = TransferFailed("n2 did not take over")
    told = await refusal(api.cluster.TransferLeadership(cluster_pb2.TransferLeadershipRequest()))
    assert (told.code, told.reason) == (REFUSED, "TRANSFER_FAILED")
