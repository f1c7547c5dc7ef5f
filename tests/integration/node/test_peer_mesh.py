"""Nodes talk to each other over connections of their own, on loopback, with certificates and without."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from garbagetruck.cluster.api.gateway import NoLeader, NotLeader, OutcomeUnknown
from garbagetruck.cluster.api.ports import PeerUnreachable
from garbagetruck.cluster.machine.outcomes import Acknowledged
from garbagetruck.cluster.node.peers.port import (
    FailureResponse,
    SubmitRequest,
)
from garbagetruck.cluster.node.peers.status import NodeStatusBoard
from tests.integration.node.peer_nodes import (
    NAMES,
    SETTINGS,
    STATUS,
    Node,
    free_members,
    meshed,
    record,
    secured,
)
from tests.integration.raft.authorities import certificates
from tests.unit.node.rig import NODE, Rig, acquire


@pytest.mark.parametrize("encrypted", [False, True])
async def test_operations_and_reads_travel_over_one_connection_in_both_directions(
    tmp_path: Path, encrypted: bool
) -> None:
    settings = secured(certificates(tmp_path, *NAMES)) if encrypted else (lambda _: SETTINGS)
    async with meshed(settings) as (first, second):
        for asking, answering, name in ((first, second, "n2"), (second, first, "n1")):
            forwarder = asking.forwarder
            many = [forwarder.submit(name, (acquire(number), acquire(number)), timeout_s=20) for number in range(50)]
            assert all(len(outcomes) == 2 for outcomes in await asyncio.gather(*many))
            assert answering.handler.asked < 50, "what waited went together"
            answer = await forwarder.read_index(name)
            assert (answer.commit_index, answer.clock_ms, answer.term) == (12, 3_400, 5)
            with pytest.raises(NotLeader, match="not I") as caught:
                await forwarder.submit(name, (acquire(666),), timeout_s=20)
            assert caught.value.leader == "127.0.0.1:9"
        assert not first.fatal
        assert not second.fatal


async def test_a_peer_that_goes_away_leaves_what_was_sent_unknown() -> None:
    async with meshed() as (leader, follower):
        await follower.forwarder.submit("n1", (acquire(1),), timeout_s=20)
        leader.handler.gate.clear()
        leader.handler.waiting.clear()
        task = asyncio.create_task(follower.forwarder.submit("n1", (acquire(2),), timeout_s=20))
        await leader.handler.waiting.wait()
        await leader.mesh.stop()
        with pytest.raises(OutcomeUnknown):
            await task
        with pytest.raises(NoLeader):
            await follower.forwarder.submit("n1", (acquire(3),), timeout_s=20)


async def test_a_stopping_node_answers_what_it_still_can() -> None:
    async with meshed() as (leader, follower):
        leader.handler.gate.clear()
        task = asyncio.create_task(follower.forwarder.submit("n1", (acquire(1),), timeout_s=20))
        await leader.handler.waiting.wait()
        stopping = asyncio.create_task(leader.mesh.stop())
        await asyncio.sleep(0)
        leader.handler.gate.set()
        assert await task == (Acknowledged(0),)
        await stopping


async def test_what_an_asker_that_is_gone_had_under_way_is_cancelled() -> None:
    async with meshed() as (leader, follower):
        leader.handler.gate.clear()
        task = asyncio.create_task(follower.forwarder.submit("n1", (acquire(1),), timeout_s=20))
        await leader.handler.waiting.wait()
        await follower.stop()
        with pytest.raises(OutcomeUnknown):
            await task
        async with asyncio.timeout(20):
            await leader.handler.cancelled.wait()


async def test_a_peer_that_is_not_there_is_noticed_at_once() -> None:
    members = free_members()
    alone = Node("n2", members, SETTINGS)
    await alone.mesh.start()
    for node_id in ("n1", "never heard of"):
        with pytest.raises(NoLeader, match="no connection"):
            await alone.forwarder.submit(node_id, (acquire(1),), timeout_s=20)
        with pytest.raises(PeerUnreachable):
            await alone.mesh.calls.ask_status(node_id)
    await alone.stop()


async def test_a_peer_that_comes_back_is_connected_to_again() -> None:
    async with meshed() as (leader, follower):
        await leader.stop()
        await follower.until_connected()
        again = Node("n1", leader.members, SETTINGS)
        await again.mesh.start()
        await follower.until_connected("n1")
        await follower.forwarder.submit("n1", (acquire(1),), timeout_s=20)
        await again.stop()


async def test_a_bug_of_the_handler_ends_the_node() -> None:
    async with meshed() as (leader, follower):
        with pytest.raises(OutcomeUnknown):
            await follower.forwarder.submit("n1", (acquire(777),), timeout_s=20)
        assert isinstance(leader.fatal[0], ZeroDivisionError)


async def test_outcomes_that_fit_no_frame_are_unknown_to_the_asker_and_the_connection_lives() -> None:
    async with meshed() as (_, follower):
        with pytest.raises(OutcomeUnknown, match="too large"):
            await follower.forwarder.submit("n1", (acquire(888),), timeout_s=20)
        await follower.forwarder.submit("n1", (acquire(1),), timeout_s=20)


async def test_requests_past_the_bound_are_refused_and_nothing_of_them_is_done() -> None:
    async with meshed(outstanding_max=2) as (leader, follower):
        leader.handler.gate.clear()
        stream = await follower.mesh.calls.connect("n1")
        for number in range(3):
            await stream.send(SubmitRequest(number, b"\x90", 1_000))
        refusal = await stream.receive()
        assert isinstance(refusal, FailureResponse)
        assert (refusal.id, refusal.reason) == (2, "OVERLOADED")
        assert leader.handler.asked == 2
        await stream.close()


async def test_a_node_tells_a_peer_how_it_is() -> None:
    async with meshed() as (leader, _):
        rig = Rig()
        board = NodeStatusBoard(
            node_id=NODE,
            version="1.2.3",
            log=rig.log,
            machine=rig.machine,
            applier=rig.applier,
            clock=rig.clock,
            leadership=rig.leadership,
            peers=leader.mesh.calls,
        )
        assert await board.ask(record("n2", "")) == replace(STATUS, node_id="n2")
        with pytest.raises(PeerUnreachable):
            await board.ask(record("n9", ""))
