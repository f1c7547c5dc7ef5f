"""The follower's stream to the leader: everything that waits in one message, exact about what is known when it breaks."""

import asyncio

import pytest
from typing_extensions import override

from garbagetruck.cluster.api.gateway import NoLeader, NotLeader, OutcomeUnknown, Overloaded
from garbagetruck.cluster.machine.codec import decode_operations, encode_outcomes
from garbagetruck.cluster.machine.outcomes import Acknowledged
from garbagetruck.cluster.node.peers.connection import MessageBounds
from garbagetruck.cluster.node.peers.forwarding import Forwarder
from garbagetruck.cluster.node.peers.port import (
    FailureResponse,
    LinkBrokenError,
    OutcomesResponse,
    PeerLink,
    PeerRequest,
    PeerResponse,
    PeerStream,
    ReadIndexRequest,
    ReadIndexResponse,
    SubmitRequest,
)
from tests.unit.node.rig import acquire, turns


class HandStream(PeerStream):
    """Keeps what was sent; the test answers, or breaks it."""

    def __init__(self) -> None:
        self.sent: list[PeerRequest] = []
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.closed = False
        self._responses: asyncio.Queue[PeerResponse | None] = asyncio.Queue()

    @override
    async def send(self, request: PeerRequest) -> None:
        self.sent.append(request)
        await self.flowing.wait()

    @override
    async def receive(self) -> PeerResponse:
        response = await self._responses.get()
        if response is None:
            raise LinkBrokenError("cut")
        return response

    @override
    async def close(self) -> None:
        self.closed = True

    def respond(self, response: PeerResponse) -> None:
        self._responses.put_nowait(response)

    def break_off(self) -> None:
        self._responses.put_nowait(None)

    def acknowledge(self, number: int = -1) -> None:
        request = self.sent[number]
        assert isinstance(request, SubmitRequest)
        outcomes = [Acknowledged(index) for index, _ in enumerate(decode_operations(request.operations))]
        self.respond(OutcomesResponse(request.id, encode_outcomes(outcomes)))


class HandLink(PeerLink):
    def __init__(self) -> None:
        self.streams: list[tuple[str, HandStream]] = []
        self.reachable = True
        self.answering = asyncio.Event()
        self.answering.set()

    @override
    async def connect(self, node_id: str) -> PeerStream:
        await self.answering.wait()
        if not self.reachable:
            raise LinkBrokenError("refused")
        stream = HandStream()
        self.streams.append((node_id, stream))
        return stream

    @property
    def stream(self) -> HandStream:
        return self.streams[-1][1]


class Rig:
    def __init__(self, *, outstanding_max: int = 100, operations_max: int = 1_000) -> None:
        self.link = HandLink()
        self.fatal: list[BaseException] = []
        bounds = MessageBounds(operations_max, 1 << 20, outstanding_max)
        self.forwarder = Forwarder(link=self.link, bounds=bounds, on_fatal=self.fatal.append)

    def submit(self, *numbers: int, leader: str = "n2", timeout_s: float = 5.0) -> "asyncio.Task[tuple[object, ...]]":
        async def run() -> tuple[object, ...]:
            return await self.forwarder.submit(leader, tuple(acquire(n) for n in numbers), timeout_s=timeout_s)

        return asyncio.get_running_loop().create_task(run())


async def test_what_waits_together_goes_in_one_message_and_each_gets_its_own_outcomes() -> None:
    rig = Rig()
    first, second, third = rig.submit(1, 2), rig.submit(3), rig.submit(4, 5)
    await turns()
    assert len(rig.link.stream.sent) == 1
    rig.link.stream.acknowledge()
    assert await first == (Acknowledged(0), Acknowledged(1))
    assert await second == (Acknowledged(2),)
    assert await third == (Acknowledged(3), Acknowledged(4))
    await rig.forwarder.stop()
    assert rig.link.stream.closed
    assert not rig.fatal


async def test_while_the_stream_is_slow_the_next_message_gathers() -> None:
    rig = Rig()
    tasks = [rig.submit(1)]
    await turns()
    rig.link.stream.flowing.clear()
    tasks.append(rig.submit(2))
    await turns()
    for number in range(3, 10):
        tasks.append(rig.submit(number))
        await turns()
    rig.link.stream.flowing.set()
    await turns()
    assert len(rig.link.stream.sent) == 3
    for number in range(3):
        rig.link.stream.acknowledge(number)
    await asyncio.gather(*tasks)
    await rig.forwarder.stop()


async def test_responses_in_any_order_find_their_callers() -> None:
    rig = Rig()
    first = rig.submit(1)
    await turns()
    second = rig.submit(2, 3)
    await turns()
    rig.link.stream.acknowledge(1)
    assert len(await second) == 2
    rig.link.stream.acknowledge(0)
    assert len(await first) == 1
    await rig.forwarder.stop()


async def test_a_broken_stream_leaves_what_was_sent_unknown_and_what_was_not_unapplied() -> None:
    rig = Rig()
    sent = rig.submit(1)
    await turns()
    rig.link.stream.flowing.clear()
    sending = rig.submit(2)
    await turns()
    waiting = rig.submit(3)
    await turns()
    rig.link.stream.break_off()
    with pytest.raises(OutcomeUnknown):
        await sent
    with pytest.raises(OutcomeUnknown):
        await sending
    with pytest.raises(NoLeader):
        await waiting
    again = rig.submit(4)
    await turns()
    assert len(rig.link.streams) == 2, "a new stream is made for the next call"
    rig.link.stream.acknowledge()
    await again
    await rig.forwarder.stop()


async def test_a_peer_that_is_not_there_was_sent_nothing() -> None:
    rig = Rig()
    rig.link.reachable = False
    with pytest.raises(NoLeader):
        await rig.submit(1)
    await rig.forwarder.stop()


async def test_at_the_deadline_what_was_sent_is_unknown_and_what_was_not_is_unapplied() -> None:
    rig = Rig()
    rig.link.answering.clear()
    with pytest.raises(NoLeader):
        await rig.submit(1, timeout_s=0.01)
    rig.link.answering.set()
    with pytest.raises(OutcomeUnknown):
        await rig.submit(2, timeout_s=0.01)
    await rig.forwarder.stop()


async def test_the_leader_gets_a_little_less_time_than_the_caller_has() -> None:
    rig = Rig()
    task = rig.submit(1, timeout_s=20.0)
    await turns()
    request = rig.link.stream.sent[0]
    assert isinstance(request, SubmitRequest)
    assert 19_000 <= request.timeout_ms <= 19_950
    rig.link.stream.acknowledge()
    await task
    await rig.forwarder.stop()


async def test_what_is_outstanding_is_bounded() -> None:
    rig = Rig(outstanding_max=3)
    tasks = [rig.submit(number) for number in range(3)]
    await turns()
    with pytest.raises(Overloaded):
        await rig.submit(9)
    rig.link.stream.acknowledge()
    await asyncio.gather(*tasks)
    await rig.forwarder.stop()


async def test_readers_that_wait_together_share_one_question() -> None:
    rig = Rig()
    readers = [asyncio.create_task(rig.forwarder.read_index("n2")) for _ in range(5)]
    await turns()
    (question,) = rig.link.stream.sent
    assert isinstance(question, ReadIndexRequest)
    late = asyncio.create_task(rig.forwarder.read_index("n2"))
    await turns()
    assert len(rig.link.stream.sent) == 2, "one who comes later needs a question sent later"
    answer = ReadIndexResponse(question.id, 7, 1_000, 3)
    rig.link.stream.respond(answer)
    assert await asyncio.gather(*readers) == [answer] * 5
    assert not late.done()
    rig.link.stream.respond(ReadIndexResponse(rig.link.stream.sent[1].id, 8, 1_000, 3))
    assert (await late).commit_index == 8
    await rig.forwarder.stop()


async def test_the_leaders_errors_are_raised_as_they_were() -> None:
    rig = Rig()
    task = rig.submit(1)
    await turns()
    rig.link.stream.respond(FailureResponse(rig.link.stream.sent[0].id, "NOT_LEADER", "no more", "127.0.0.1:9"))
    with pytest.raises(NotLeader, match="no more") as caught:
        await task
    assert caught.value.leader == "127.0.0.1:9"
    await rig.forwarder.stop()


async def test_an_error_that_this_version_does_not_know_leaves_the_outcome_unknown() -> None:
    rig = Rig()
    task = rig.submit(1)
    await turns()
    rig.link.stream.respond(FailureResponse(rig.link.stream.sent[0].id, "NEW_REASON", "?", ""))
    with pytest.raises(OutcomeUnknown):
        await task
    await rig.forwarder.stop()


@pytest.mark.parametrize("nonsense", ["unreadable", "too_few", "wrong_kind", "wrong_id"])
async def test_nonsense_from_the_peer_breaks_the_stream(nonsense: str) -> None:
    rig = Rig()
    task = rig.submit(1)
    await turns()
    request_id = rig.link.stream.sent[0].id
    responses: dict[str, PeerResponse] = {
        "unreadable": OutcomesResponse(request_id, b"\xff"),
        "too_few": OutcomesResponse(request_id, encode_outcomes(())),
        "wrong_kind": ReadIndexResponse(request_id, 1, 1, 1),
        "wrong_id": OutcomesResponse(request_id + 1, encode_outcomes((Acknowledged(),))),
    }
    rig.link.stream.respond(responses[nonsense])
    with pytest.raises(OutcomeUnknown):
        await task
    assert rig.link.stream.closed
    await rig.forwarder.stop()


async def test_a_group_too_large_for_one_message_goes_in_several() -> None:
    rig = Rig(operations_max=10)
    task = rig.submit(*range(25))
    for number in range(3):
        await turns()
        assert len(rig.link.stream.sent) == number + 1
        rig.link.stream.acknowledge()
    assert len(await task) == 25
    await rig.forwarder.stop()


async def test_a_group_whose_later_part_failed_is_unknown_as_a_whole() -> None:
    rig = Rig(operations_max=10)
    task = rig.submit(*range(25))
    await turns()
    rig.link.stream.acknowledge()
    await turns()
    rig.link.stream.respond(FailureResponse(rig.link.stream.sent[1].id, "NOT_LEADER", "no more", ""))
    with pytest.raises(OutcomeUnknown):
        await task
    await rig.forwarder.stop()


async def test_the_connection_to_a_former_leader_ends_when_it_has_answered() -> None:
    rig = Rig()
    old = rig.submit(1, leader="n2")
    await turns()
    new = rig.submit(2, leader="n3")
    await turns()
    assert [node for node, _ in rig.link.streams] == ["n2", "n3"]
    former = rig.link.streams[0][1]
    closed_before = former.closed
    former.acknowledge()
    await old
    await turns()
    assert (closed_before, former.closed) == (False, True)
    rig.link.stream.acknowledge()
    await new
    await rig.forwarder.stop()
    assert not rig.fatal
