"""One node on a disk that loses power, and a leader that is a script: no threads, no sockets, no time.

The node is a real engine on a real pysyncobj. The leader's history is fixed, so that whatever the node says or holds can be
compared with it.
"""

import asyncio
import functools
import random
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any, cast
from zlib import crc32

from garbagetruck.chaos.simulator.disk import SimulatedDisk
from garbagetruck.cluster.raft import wire
from garbagetruck.cluster.raft.engine import Engine
from garbagetruck.cluster.raft.exchange import HandOff, SnapshotDue
from garbagetruck.cluster.raft.log import Entry
from garbagetruck.cluster.raft.settings import Identity, Member, RaftSettings
from garbagetruck.cluster.raft.snapshots.capturing import write_capture
from garbagetruck.cluster.raft.snapshots.format import SnapshotHeader
from garbagetruck.cluster.raft.snapshots.port import Capture, Snapshots
from garbagetruck.cluster.raft.snapshots.store import SnapshotStore, name_of
from garbagetruck.cluster.raft.storage import Storage
from tests.integration.raft.replicas import decode_entries, encode_entries
from tests.unit.raft.links import FakeLink, VirtualTime

SETTINGS = replace(RaftSettings(), snapshot_entries=8, segment_bytes=64 * 1024)
IDENTITY = Identity("c", "n1", "disk-n1")
MEMBERS = {each: Member(each, f"127.0.0.1:{port}") for port, each in enumerate(("n1", "n2", "n3"), 1)}
LEADER, TERM = "n2", 1
FOLDER = Path("/node")


def entry(index: int) -> wire.LogEntry:
    return (b"\1", 1, 0) if index == 1 else (b"\0%d " % index + bytes(300), index, TERM)


def state_at(index: int) -> list[Entry]:
    return [Entry(each, entry(each)[0][1:]) for each in range(2, index + 1)]


@functools.cache
def leaders_snapshot(index: int) -> tuple[str, bytes]:
    """Its id, and the bytes of its file."""
    disk = SimulatedDisk(random.Random(0))
    disk.make_folder(FOLDER)
    store = SnapshotStore(disk, FOLDER / "snapshots", cluster_id="c")
    store.open()
    header = SnapshotHeader("c", 1, f"leaders-{index}", index, TERM, entry(index - 1)[2])
    writer = store.begin(header)
    content = encode_entries(state_at(index))
    for begin in range(0, len(content), 1_500):
        writer.write(content[begin : begin + 1_500])
    writer.finish()
    file = disk.open(FOLDER / "snapshots" / name_of(header))
    return header.snapshot_id, file.read(file.size(), 0)


class Inline(Executor):
    """Does everything at once; a loss of power ends whoever asked for it, too."""

    def submit(self, job: Callable[..., Any], /, *arguments: Any, **named: Any) -> "Future[Any]":  # type: ignore[explicit-override]
        future: Future[Any] = Future()
        try:
            future.set_result(job(*arguments, **named))
        except Exception as error:  # noqa: BLE001  # as any executor
            future.set_exception(error)
        return future


class Later:
    """Stands for the Raft thread's loop: runs what it was given when it is told to."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()

    def call_soon_threadsafe(self, callback: Callable[[], None]) -> None:
        self._waiting.append(callback)

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Turns are the test's own."""

    def run(self) -> None:
        while self._waiting:
            self._waiting.popleft()()


class IdleThread:
    def start(self) -> None: ...
    def join(self) -> None: ...


class Follower:
    """One life of the node. `live` on, until power is lost."""

    def __init__(self, disk: SimulatedDisk, folder: Path, clock: VirtualTime) -> None:
        disk.make_folder(folder)
        self.disk = disk
        self._clock = clock
        self.entries: list[Entry] = []
        self.applied_index = 1
        self.restored: list[int] = []
        self.taken = 0
        """Snapshots of its own that were reported durable."""
        self.acknowledged = 0
        self.said: list[wire.Message] = []
        self._due = False
        self._loop = Later()
        self.engine = Engine(
            identity=IDENTITY,
            members=[*MEMBERS.values()],
            founders=[*MEMBERS],
            storage=Storage(folder, disk, Snapshots(self, Inline())),
            settings=SETTINGS,
            thread_factory=lambda _target, _name: cast("Thread", IdleThread()),
            monotonic_ns=clock.monotonic_ns,
            random=random.Random(1),
            hand_over=self._on_hand_off,
        )
        self.engine._loop = cast("asyncio.AbstractEventLoop", self._loop)
        self.engine._end = Future()  # type: ignore[assignment]
        self.engine._turned_ns = clock.now_ns
        self.sessions = self.engine._open_log().sessions
        self.link = FakeLink(self.sessions, clock).open()
        self.link.hear(wire.Hello(wire.PROTOCOL, "c", 1, LEADER, f"disk-{LEADER}", "n1", wire.FORMAT))
        self.turn()

    # --- the machine ------------------------------------------------------------------------------------------------

    def capture(self) -> Capture:
        return Capture(self.applied_index, self._pieces(encode_entries(self.entries)))

    async def _pieces(self, content: bytes) -> AsyncGenerator[bytes, None]:
        for begin in range(0, len(content), 2_000):
            yield content[begin : begin + 2_000]

    def decode(self, chunks: Iterator[bytes]) -> list[Entry]:
        return decode_entries(b"".join(chunks))

    def _on_hand_off(self, hand_off: HandOff) -> None:
        if hand_off.restored is not None:
            assert hand_off.restored.index > self.applied_index
            self.entries = cast("list[Entry]", hand_off.restored.state)
            self.applied_index = hand_off.restored.index
            self.restored.append(self.applied_index)
        self.entries = [*self.entries, *hand_off.entries]
        self.applied_index = max(self.applied_index, hand_off.applied_index)
        self._due = self._due or SnapshotDue() in hand_off.replies
        assert self.entries == state_at(self.applied_index), "the machine's state is not the history's"

    async def _describe(self, index: int) -> SnapshotHeader | None:
        answer = self.engine.snapshots.describe(index)
        self._loop.run()
        self._raise_bug()
        return answer.result()

    # --- what a test does -------------------------------------------------------------------------------------------

    @property
    def last_index(self) -> int:
        assert self.engine._journal is not None
        return self.engine._journal.last_index

    def hear(self, message: wire.Message) -> None:
        self.link.hear(message)
        self.turn()

    def turn(self) -> None:
        """Everything that can happen now, happens; then what was said is looked at."""
        for _ in range(3):
            self._loop.run()
            self.engine._turn_over()
            assert self.engine._journal is not None
            while self.engine._journal.writer.write_waiting():
                pass
            self.engine._journal.advance()
            self._raise_bug()
            if self._due:
                self._due = False
                work = self.engine.snapshots
                header = asyncio.run(write_capture(cast("Snapshots", work._snapshots), work.store, self._describe))
                work.ended(header)
                self.taken = max(self.taken, 0 if header is None else header.index)
        said, self.link.sent = self.link.sent, []
        self.said += said
        for message in said:
            if isinstance(message, wire.NextIndex) and message.success:
                self.acknowledged = max(self.acknowledged, message.next_index - 1)

    def _raise_bug(self) -> None:
        end = self.engine._end
        if end is not None and end.done():
            end.result()

    def append(self, first: int, last: int, *, commit_index: int | None = None) -> None:
        """The leader's entries, all of them committed unless said otherwise."""
        entries = [entry(index) for index in range(first, last + 1)]
        commit_index = last if commit_index is None else commit_index
        self.hear(wire.AppendEntries(TERM, commit_index, first - 1, entry(first - 1)[2], entries))

    def answers(self, *messages: wire.Message) -> list[wire.Message]:
        """What is said to these."""
        self.said.clear()
        for message in messages:
            self.hear(message)
        return [*self.said]

    def install(self, index: int) -> None:
        """The leader's snapshot, as far as it is wanted."""
        snapshot_id, content = leaders_snapshot(index)
        offset = 0
        while self.acknowledged < index:
            self.said.clear()
            self.hear(wire.SnapshotOffer(TERM, snapshot_id, index, len(content)))
            for message in [*self.said]:
                if isinstance(message, wire.SnapshotWanted):
                    offset = message.offset
            part = content[offset : offset + 4_000]
            if part:
                self.hear(wire.SnapshotChunk(TERM, snapshot_id, offset, crc32(part), part))
