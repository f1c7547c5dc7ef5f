"""The gateway on each node: finds the leader, tries again only what cannot have been applied, answers honest reads."""

import asyncio

import msgspec
import pytest

from garbagetruck.cluster.api.gateway import Consistency, Draining, NoLeader
from garbagetruck.cluster.machine.codec import decode_outcomes, encode_operations
from garbagetruck.cluster.machine.model import Bounds
from garbagetruck.cluster.machine.operations import AcquireLease
from garbagetruck.cluster.machine.outcomes import LeaseGranted, Reason, Refused
from garbagetruck.cluster.node.peers.port import (
    FailureResponse,
    OutcomesResponse,
    ReadIndexRequest,
    ReadIndexResponse,
    SubmitRequest,
)
from tests.unit.node.gateway_rig import Node, ScriptedPeer
from tests.unit.node.rig import acquire, turns


async def test_the_leader_commits_and_reads_its_own_writes(node: Node) -> None:
    await node.lead()
    await node.create()
    (granted,) = await node.gateway.submit((acquire(1),), timeout_s=1)
    assert isinstance(granted, LeaseGranted)
    view = await node.gateway.read(Consistency.LINEARIZABLE, timeout_s=1)
    assert view.age_ms == 0
    assert view.machine.lease("lease-1", view.clock_ms) is not None
    header = node.gateway.header()
    assert (header.leader_id, header.leader_api, header.cluster_id) == ("n1", "127.0.0.1:7101", "c1")


async def test_a_call_waits_through_an_election_within_its_time(node: Node) -> None:
    task = asyncio.create_task(node.gateway.submit((acquire(1),), timeout_s=5))
    await turns()
    await node.lead()
    assert isinstance((await task)[0], LeaseGranted)


async def test_what_was_not_applied_is_tried_again_with_the_next_leader(node: Node) -> None:
    peer = node.link.handlers["n2"] = ScriptedPeer("NOT_LEADER", "DRAINING")
    node.log.follow(2, "n2")
    task = asyncio.create_task(node.gateway.submit((acquire(1),), timeout_s=5))
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
    task = asyncio.create_task(node.gateway.read(Consistency.LINEARIZABLE, timeout_s=5))
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
        await node.gateway.submit((acquire(1),), timeout_s=1)
    assert caught.value.leader == "127.0.0.1:7102"


async def test_entered_ms_is_never_ahead_of_any_leader(node: Node) -> None:
    await node.lead()
    await node.create()
    node.monotonic.advance_ms(200)
    assert node.gateway.entered_ms() <= node.clock.now_ms()
    node.log.follow(2, "n2")
    assert node.gateway.entered_ms() == node.machine.clock_ms


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
