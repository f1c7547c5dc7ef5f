"""ClusterService: members come and go, and leadership is handed over, each refusal with its reason."""

from dataclasses import replace

import grpc
import pytest
from msgspec.structs import replace as with_

from garbagetruck.cluster.api.gateway import TransferFailed
from garbagetruck.cluster.machine.operations import RegisterMember, SettleMember
from garbagetruck.v1 import cluster_pb2
from tests.unit.api.stand import INVALID, NODES, Stand, refusal

NEW = cluster_pb2.Member(id="n4", api="host-4:1", http="host-4:2", raft="127.0.0.1:7304", peer="127.0.0.1:7404")
REFUSED = grpc.StatusCode.FAILED_PRECONDITION


@pytest.fixture
def api(api: Stand) -> Stand:
    """All members can read of changes."""
    for node in NODES:
        api.gateway.apply(RegisterMember(with_(node, feature_level=2)))
    return api


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


async def test_a_learner_that_has_not_told_its_level_is_nothing_to_warn_of(api: Stand) -> None:
    await api.cluster.AddMember(cluster_pb2.AddMemberRequest(member=NEW))
    status = (await api.cluster.GetStatus(cluster_pb2.GetStatusRequest())).status
    assert list(status.warnings) == ["n4 (host-4:1) does not answer"]


async def test_what_keeps_a_change_of_membership_waiting_is_a_warning(api: Stand) -> None:
    own = api.peers.statuses["n1"]
    api.peers.statuses["n1"] = replace(own, membership_waits="n4 joins: nobody has come under this name yet")
    assert list(((await api.cluster.GetStatus(cluster_pb2.GetStatusRequest())).status).warnings) == [
        "n4 joins: nobody has come under this name yet"
    ]


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


async def test_status_tells_of_a_node_that_holds_its_cleanups(api: Stand) -> None:
    own = api.peers.statuses["n1"]
    api.peers.statuses["n1"] = replace(own, cleanups_held=True)
    status = (await api.cluster.GetStatus(cluster_pb2.GetStatusRequest())).status
    assert not status.healthy
    assert "n1 saw that digests differ, and starts no cleanup until that is settled" in status.warnings
