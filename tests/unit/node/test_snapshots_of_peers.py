"""A node asks another for its snapshot: what comes back, and what is known when nothing does."""

import asyncio

import pytest

from garbagetruck.cluster.api.gateway import MemberUnreachable, OutcomeUnknown, StorageAbsent, StorageAway
from garbagetruck.cluster.api.snapshots import SnapshotRecord
from garbagetruck.cluster.node.peers.port import SnapshotRequest, SnapshotResponse
from garbagetruck.cluster.node.peers.wire import PEER
from tests.unit.node.gateway_rig import Node

RECORD = SnapshotRecord(
    id="s1",
    node_id="n2",
    applied_index=41,
    term=7,
    clock_ms=1_000,
    incarnation=1,
    size_bytes=2_000,
    chunks=2,
    digest="00ff",
    format=1,
    taken_at_ms=1_700_000_000_000,
    location="a folder",
)


class Taking:
    """A peer's answers, in order: a snapshot, or what is raised."""

    def __init__(self, *answers: SnapshotRecord | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, float]] = []

    async def __call__(self, request_id: str, timeout_s: float) -> SnapshotRecord:
        self.asked.append((request_id, timeout_s))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_whoever_leads_a_peer_is_asked_under_the_callers_request_id(node: Node) -> None:
    taking = node.handler.take_snapshot = Taking(RECORD)
    node.link.handlers["n2"] = node.handler
    node.log.follow(2, "n3")
    assert await node.forwarder.create_snapshot("n2", "r-1", timeout_s=10) == RECORD
    assert taking.asked == [("r-1", 9.0)], "so that its answer is there in time"


@pytest.mark.parametrize("met", [StorageAway("nobody answers"), OutcomeUnknown("it goes on")])
async def test_what_a_peer_meets_is_told_as_it_is(node: Node, met: Exception) -> None:
    node.handler.take_snapshot = Taking(met)
    node.link.handlers["n2"] = node.handler
    with pytest.raises(type(met), match=str(met)):
        await node.forwarder.create_snapshot("n2", "", timeout_s=10)


async def test_a_peer_that_keeps_nothing_outside_says_so(node: Node) -> None:
    node.link.handlers["n2"] = node.handler
    with pytest.raises(StorageAbsent):
        await node.forwarder.create_snapshot("n2", "", timeout_s=10)


async def test_i11_a_peer_that_was_not_reached_did_nothing_and_of_one_that_is_silent_it_is_not_known(
    node: Node,
) -> None:
    with pytest.raises(MemberUnreachable, match="n2 cannot be reached from here"):
        await node.forwarder.create_snapshot("n2", "", timeout_s=10)

    async def silent(request_id: str, timeout_s: float) -> SnapshotRecord:
        await asyncio.sleep(0.1)
        return RECORD

    node.handler.take_snapshot = silent
    node.link.handlers["n2"] = node.handler
    with pytest.raises(OutcomeUnknown, match="did not answer"):
        await node.forwarder.create_snapshot("n2", "", timeout_s=0.01)


async def test_a_draining_node_takes_no_snapshot_for_others(node: Node) -> None:
    node.handler.drain()
    assert "DRAINING" in str(await node.handler.handle(SnapshotRequest(1, "", 1_000)))


def test_question_and_answer_travel_as_plain_data() -> None:
    for message in (SnapshotRequest(1, "r-1", 9_000), SnapshotResponse(1, RECORD)):
        assert PEER.decode(PEER.encode(message)) == message
