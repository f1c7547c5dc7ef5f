"""Asked while nothing can be decided, a node says which it is: no leader, no majority, or not caught up yet."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from typing_extensions import override

from garbagetruck.cluster.api.gateway import Consistency, NoLeader, NoQuorum, OutcomeUnknown, Starting
from garbagetruck.cluster.machine.outcomes import LeaseGranted
from garbagetruck.cluster.node.peers.port import FailureResponse, PeerHandler, PeerRequest, PeerResponse, SubmitRequest
from tests.unit.node.gateway_rig import Node, ScriptedPeer
from tests.unit.node.rig import acquire, turns

TIMEOUT_S = 1.0
"""Long enough that a busy machine answers within the share of it that is kept for the answer."""
SILENCE_MS = 1_000
"""Longer than a leader believes in its majority without a word of it."""

Ask = Callable[[Node], Awaitable[object]]


def submit(node: Node) -> Awaitable[object]:
    return node.gateway.submit((acquire(1),), timeout_s=TIMEOUT_S)


def read(node: Node) -> Awaitable[object]:
    return node.gateway.read(Consistency.LINEARIZABLE, timeout_s=TIMEOUT_S)


def elapsed_s(started_s: float) -> float:
    return asyncio.get_running_loop().time() - started_s


async def silenced(node: Node) -> None:
    """Make `node` lead, and its peers silent for a while."""
    await node.lead()
    node.log.confirms = False
    node.log.automatic = False
    await turns()
    node.monotonic.advance_ms(SILENCE_MS)


@pytest.mark.parametrize("ask", [submit, read])
async def test_without_a_leader_it_says_so_within_the_timeout(node: Node, ask: Ask) -> None:
    started_s = asyncio.get_running_loop().time()
    with pytest.raises(NoLeader):
        await ask(node)
    assert elapsed_s(started_s) < TIMEOUT_S


@pytest.mark.parametrize("ask", [submit, read])
async def test_i8_a_leader_that_no_majority_answers_says_so_within_the_timeout(node: Node, ask: Ask) -> None:
    await silenced(node)
    before = len(node.log.proposed)
    started_s = asyncio.get_running_loop().time()
    with pytest.raises(NoQuorum):
        await ask(node)
    assert elapsed_s(started_s) < TIMEOUT_S
    assert node.queue.waiting_operations == 0
    assert len(node.log.proposed) == before, "nothing is handed to a log that cannot commit it"


async def test_i8_a_leader_that_no_majority_follows_answers_no_linearizable_read(node: Node) -> None:
    await node.lead()
    node.log.confirms = False
    with pytest.raises(NoQuorum):
        await node.gateway.read(Consistency.LINEARIZABLE, timeout_s=0.1)
    stale = await node.gateway.read(Consistency.STALE, timeout_s=0.1)
    assert stale.applied_index == node.applier.applied_index
    assert stale.age_ms >= 0


async def test_i11_what_was_sealed_before_the_silence_was_noticed_is_called_unknown(node: Node) -> None:
    await node.lead()
    await node.create()
    node.log.automatic = False
    with pytest.raises(OutcomeUnknown):
        await submit(node)


async def test_a_call_waits_through_a_silence_within_its_time(node: Node) -> None:
    await node.lead()
    await node.create()
    node.log.confirms = False
    await turns()
    node.monotonic.advance_ms(SILENCE_MS)
    task = asyncio.create_task(node.gateway.submit((acquire(1),), timeout_s=20))
    await turns()
    assert not task.done()
    assert not node.leadership.in_touch
    node.log.confirms = True
    node.log.echo()
    assert isinstance((await task)[0], LeaseGranted)


@pytest.mark.parametrize("ask", [submit, read])
async def test_an_elected_node_whose_first_entry_no_majority_stores_has_no_quorum(node: Node, ask: Ask) -> None:
    node.log.automatic = False
    node.log.lead(1)
    with pytest.raises(NoQuorum):
        await ask(node)


async def test_the_leader_tells_a_follower_that_no_majority_answers(node: Node) -> None:
    await silenced(node)
    response = await node.handler.handle(SubmitRequest(1, b"", 1_000))
    assert isinstance(response, FailureResponse)
    assert response.reason == "NO_QUORUM"


@pytest.mark.parametrize("ask", [submit, read])
async def test_a_follower_hands_on_that_no_majority_answers_the_leader(node: Node, ask: Ask) -> None:
    node.link.handlers["n2"] = ScriptedPeer(*["NO_QUORUM"] * 100)
    node.log.follow(2, "n2")
    started_s = asyncio.get_running_loop().time()
    with pytest.raises(NoQuorum) as caught:
        await ask(node)
    assert elapsed_s(started_s) < TIMEOUT_S
    assert caught.value.leader == "127.0.0.1:7102"


class SilentPeer(PeerHandler):
    """A leader elsewhere that is stopped."""

    @override
    async def handle(self, request: PeerRequest) -> PeerResponse:
        await asyncio.sleep(TIMEOUT_S + 0.1)
        return FailureResponse(request.id, "NOT_LEADER", "too late", "")


async def test_a_leader_that_does_not_answer_a_read_cannot_be_reached(node: Node) -> None:
    node.link.handlers["n2"] = SilentPeer()
    node.log.follow(2, "n2")
    with pytest.raises(NoLeader, match="n2, did not answer in time"):
        await read(node)


async def test_a_node_that_has_not_applied_what_the_leader_told_is_starting(node: Node) -> None:
    node.link.handlers["n2"] = ScriptedPeer("index")
    node.log.follow(2, "n2")
    node.log.commit_foreign(b"unreadable, but an entry")
    with pytest.raises(Starting, match="it has applied 1 of 3"):
        await read(node)
