"""The gateway on each node: finds the leader, tries again only what cannot have been applied, answers honest reads."""

import asyncio

import msgspec
import pytest
from msgspec.structs import replace

from garbagetruck.cluster.api.gateway import Consistency, Draining, FeatureNotEnabled, NoLeader, TransferFailed
from garbagetruck.cluster.machine.codec import decode_outcomes, encode_operations
from garbagetruck.cluster.machine.model import Bounds
from garbagetruck.cluster.machine.operations import AcquireLease, RegisterMember
from garbagetruck.cluster.machine.outcomes import LeaseGranted, Reason, Refused
from garbagetruck.cluster.node.peers.port import (
    FailureResponse,
    OutcomesResponse,
    ReadIndexRequest,
    ReadIndexResponse,
    SubmitRequest,
    TransferRequest,
    TransferResponse,
)
from tests.unit.node.gateway_rig import Node, ScriptedPeer
from tests.unit.node.rig import acquire, turns


async def test_the_leader_commits_and_reads_its_own_writes(node: Node) -> None:
    await node.lead()
    await node.create()
    (granted,) = await node.gateway.submit((acquire(1),), timeout_s=20)
    assert isinstance(granted, LeaseGranted)
    view = await node.gateway.read(Consistency.LINEARIZABLE, timeout_s=20)
    assert view.age_ms == 0
    assert view.machine.lease("lease-1", view.clock_ms) is not None
    header = node.gateway.header()
    assert (header.leader_id, header.leader_api, header.cluster_id) == ("n1", "127.0.0.1:7101", "c1")


async def test_a_call_waits_through_an_election_within_its_time(node: Node) -> None:
    task = asyncio.create_task(node.gateway.submit((acquire(1),), timeout_s=20))
    await turns()
    await node.lead()
    assert isinstance((await task)[0], LeaseGranted)


async def test_what_was_not_applied_is_tried_again_with_the_next_leader(node: Node) -> None:
    peer = node.link.handlers["n2"] = ScriptedPeer("NOT_LEADER", "DRAINING")
    node.log.follow(2, "n2")
    task = asyncio.create_task(node.gateway.submit((acquire(1),), timeout_s=20))
    await peer.done.wait()
    await node.lead(3)
    assert isinstance((await task)[0], LeaseGranted)


async def test_a_peer_that_cannot_be_reached_is_no_leader(node: Node) -> None:
    node.log.follow(2, "n2")
    with pytest.raises(NoLeader) as caught:
        await node.gateway.submit((acquire(1),), timeout_s=0.2)
    assert caught.value.leader == "127.0.0.1:7102", "the caller may try it by itself"


async def test_a_follower_reads_once_it_has_applied_what_the_leader_told(node: Node) -> None:
    node.link.handlers["n2"] = ScriptedPeer("index")
    node.log.follow(2, "n2")
    task = asyncio.create_task(node.gateway.read(Consistency.LINEARIZABLE, timeout_s=20))
    await turns(30)
    assert not task.done()
    for _ in range(3):
        node.log.commit_foreign(b"unreadable, but an entry")
    view = await task
    assert view.applied_index == 3
    assert view.clock_ms == 5_000


async def test_a_draining_node_takes_nothing_new_and_names_the_leader(node: Node) -> None:
    node.log.follow(2, "n2")
    node.gateway.drain()
    with pytest.raises(Draining) as caught:
        await node.gateway.submit((acquire(1),), timeout_s=20)
    assert caught.value.leader == "127.0.0.1:7102"


async def test_entered_ms_is_never_ahead_of_any_leader(node: Node) -> None:
    await node.lead()
    await node.create()
    node.monotonic.advance_ms(200)
    assert node.gateway.entered_ms() <= node.clock.now_ms()
    node.log.follow(2, "n2")
    assert node.gateway.entered_ms() == node.machine.clock_ms


# -- handing leadership over --------------------------------------------------------------------------------------


async def test_the_leader_hands_over_and_tells_who_leads_then(node: Node) -> None:
    await node.lead()
    await node.create()
    assert await node.gateway.transfer_leadership("n3", timeout_s=20) == "n3"
    assert not node.leadership.leading
    await node.lead(5)
    assert await node.gateway.transfer_leadership("", timeout_s=20) == "n2"


async def test_who_leads_already_need_not_be_asked(node: Node) -> None:
    await node.lead()
    assert await node.gateway.transfer_leadership("n1", timeout_s=20) == "n1"
    assert node.leadership.leading


@pytest.mark.parametrize(("to", "told"), [("n9", "n9 has no vote"), ("n3", "n3 is not connected to the leader, n1")])
async def test_nobody_stops_leading_for_one_who_cannot(node: Node, to: str, told: str) -> None:
    await node.lead()
    node.log.connect("n2")
    with pytest.raises(TransferFailed, match=told):
        await node.gateway.transfer_leadership(to, timeout_s=20)
    assert node.leadership.leading


async def test_a_transfer_that_comes_to_nothing_leaves_the_leader_where_it_was(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def in_vain(to: str | None = None) -> bool:
        return False

    await node.lead()
    monkeypatch.setattr(node.log, "transfer_leadership", in_vain)
    with pytest.raises(TransferFailed, match="n2 did not take over in time"):
        await node.gateway.transfer_leadership("n2", timeout_s=20)
    await turns()
    assert node.leadership.leading, "once an entry of its own has been applied again"


async def test_a_follower_has_the_leader_hand_over(node: Node) -> None:
    peer = node.link.handlers["n2"] = ScriptedPeer("NOT_LEADER", "TRANSFER_FAILED", "handed over")
    await node.lead()
    await node.create()
    record = replace(node.machine.members()[0], feature_level=1)
    await node.queue.submit((RegisterMember(record),), timeout_s=20)
    node.log.follow(2, "n2")
    with pytest.raises(FeatureNotEnabled, match="ask n2 itself"):
        await node.gateway.transfer_leadership("n3", timeout_s=20)
    await node.lead(3)
    await node.queue.submit((RegisterMember(replace(record, feature_level=2)),), timeout_s=20)
    node.log.follow(4, "n2")
    with pytest.raises(TransferFailed):
        await node.gateway.transfer_leadership("n3", timeout_s=20)
    assert await node.gateway.transfer_leadership("n3", timeout_s=20) == "n3"
    assert [each.to for each in peer.asked if isinstance(each, TransferRequest)] == ["n3"] * 3


async def test_the_leaders_side_of_a_transfer(node: Node) -> None:
    response = await node.handler.handle(TransferRequest(1, "n2"))
    assert isinstance(response, FailureResponse)
    assert response.reason == "NOT_LEADER"
    await node.lead()
    assert await node.handler.handle(TransferRequest(2, "n2")) == TransferResponse(2, "n2")


# -- the leader's side of forwarding ------------------------------------------------------------------------------


async def test_the_leader_checks_forwarded_operations_again(node: Node) -> None:
    await node.lead()
    await node.create()
    bad: AcquireLease = replace_ttl(acquire(2), Bounds().ttl_ms_max + 1)
    before = len(node.log.history)
    request = SubmitRequest(7, encode_operations((acquire(1), bad, acquire(3))), 1_000)
    response = await node.handler.handle(request)
    assert isinstance(response, OutcomesResponse)
    granted, refused, third = decode_outcomes(response.outcomes)
    assert isinstance(granted, LeaseGranted)
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.INVALID_ARGUMENT
    assert isinstance(third, LeaseGranted)
    logged = [each for batch in node.log.batches()[before:] for each in batch.operations]
    assert logged == [acquire(1), acquire(3)], "what was refused leaves no trace"


async def test_a_node_that_does_not_lead_says_so_and_who_does(node: Node) -> None:
    node.log.follow(2, "n2")
    for request in (SubmitRequest(1, encode_operations((acquire(1),)), 1_000), ReadIndexRequest(2)):
        response = await node.handler.handle(request)
        assert isinstance(response, FailureResponse)
        assert (response.reason, response.leader) == ("NOT_LEADER", "127.0.0.1:7102")


async def test_what_cannot_be_read_is_not_applied(node: Node) -> None:
    await node.lead()
    response = await node.handler.handle(SubmitRequest(1, b"\xc1", 1_000))
    assert isinstance(response, FailureResponse)
    assert response.reason == "NOT_LEADER"


async def test_a_draining_leader_takes_nothing_more(node: Node) -> None:
    await node.lead()
    node.handler.drain()
    response = await node.handler.handle(ReadIndexRequest(1))
    assert isinstance(response, FailureResponse)
    assert response.reason == "DRAINING"


async def test_the_read_index_is_the_commit_index_after_a_majoritys_echo(node: Node) -> None:
    await node.lead()
    await node.create()
    response = await node.handler.handle(ReadIndexRequest(4))
    assert isinstance(response, ReadIndexResponse)
    assert response.commit_index == node.log.status.commit_index
    assert response.term == 1


def replace_ttl(operation: AcquireLease, ttl_ms: int) -> AcquireLease:
    return msgspec.structs.replace(operation, ttl_ms=ttl_ms)
