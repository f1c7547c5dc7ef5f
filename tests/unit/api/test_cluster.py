"""ClusterService: the members, and the cluster at a glance, whatever its nodes do."""

import dataclasses

from msgspec.structs import replace

from garbagetruck.cluster.api.gateway import NoLeader
from garbagetruck.cluster.api.ports import NodeRole, NodeStatus
from garbagetruck.cluster.machine.operations import NoteDigest, RegisterMember, ReportDigest
from garbagetruck.v1 import cleanup_pb2, cluster_pb2, lease_pb2
from tests.unit.api.stand import NODES, Stand


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


async def test_the_status_tells_who_follows_nobody_and_which_voter_the_leader_does_not_reach(api: Stand) -> None:
    """A node whose book is old answers, and would be no help if another failed."""
    leads, lost = (
        NodeStatus(node, role, 1, 7, 7, "0.1.0", 99, 1_000)
        for node, role in (("n1", NodeRole.LEADER), ("n3", NodeRole.FOLLOWER))
    )
    api.peers.statuses["n1"] = dataclasses.replace(leads, leader_id="n1", voters_apart=("n2", "n3"))
    api.peers.statuses["n3"] = dataclasses.replace(lost, leader_id="")
    api.peers.unreachable.add("n2")
    assert list((await status_of(api)).warnings) == [
        "n2 (127.0.0.1:7102) does not answer",
        "n1 leads, and has no Raft connection with n3",
        "n3 knows no leader",
    ]


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


async def test_members_and_status_tell_the_levels_and_who_holds_the_cluster_back(api: Stand) -> None:
    status = await status_of(api)
    assert (status.feature_level, list(status.warnings)) == (1, []), "one level for all is nothing to warn of"
    for number in (1, 3):
        api.gateway.apply(RegisterMember(replace(NODES[number - 1], feature_level=2)))
    members = (await api.cluster.ListMembers(cluster_pb2.ListMembersRequest())).members
    assert [member.feature_level for member in members] == [2, 1, 2]
    status = await status_of(api)
    assert [node.feature_level for node in status.nodes] == [2, 1, 2]
    assert (status.feature_level, status.healthy) == (1, False)
    assert list(status.warnings) == ["n2 holds the cluster at feature level 1; n1, n3 can do more"]


async def test_the_status_names_a_member_that_cannot_read_what_is_used(api: Stand) -> None:
    for node in NODES:
        api.gateway.apply(RegisterMember(replace(node, feature_level=2)))
    api.gateway.apply(NoteDigest(32, 1), RegisterMember(replace(NODES[1], feature_level=1)))
    assert list((await status_of(api)).warnings) == ["n2 reads feature level 1 only, and the cluster uses 2"]


async def test_i3_the_status_names_the_nodes_whose_digests_differ_until_an_operator_resumes(api: Stand) -> None:
    for node in NODES:
        api.gateway.apply(RegisterMember(replace(node, feature_level=2)))
    api.gateway.apply(NoteDigest(32, 1), ReportDigest(32, "n3", 2))
    status = await status_of(api)
    leader = api.gateway.machine.leader
    (warning,) = status.warnings
    told = f"digests differ at entry 32: {leader} has 0000000000000001, n3 has 0000000000000002; cleanups stay paused"
    assert warning == f"{told} until `cleanup resume --all-namespaces`"
    assert status.cleanup.paused
    await api.cleanups.Resume(cleanup_pb2.ResumeRequest(all_namespaces=True))
    assert list((await status_of(api)).warnings) == []
