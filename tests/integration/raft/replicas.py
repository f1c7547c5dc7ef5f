"""Three replicas in one process, on real sockets, with cables between them that a test can cut: proxies, where each replica
believes that its peers listen.
"""

import asyncio
import contextlib
import random
import socket
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import msgspec

from garbagetruck.cluster.raft.errors import ChangeRefused, NotLeader, SnapshotUnfit
from garbagetruck.cluster.raft.log import Change, Entry, LogStatus, Role
from garbagetruck.cluster.raft.replica import Replica
from garbagetruck.cluster.raft.settings import Identity, Member, RaftSettings
from garbagetruck.cluster.raft.snapshots.port import Capture, Snapshots, StateMachine
from garbagetruck.cluster.raft.tls import TlsFiles
from tests.integration.raft.cables import Cable

IDS = ("n1", "n2", "n3")
SETTINGS = RaftSettings()
CALM = RaftSettings(election_timeout_ms_min=1_500, election_timeout_ms_max=2_500, leader_fallback_ms=1_500)
"""For tests in which nobody may be deposed: a busy machine stands still for longer than the defaults take for life."""
PIECE_BYTES = 50_000
CALM_MS = {
    "election_timeout_ms_min": CALM.election_timeout_ms_min,
    "election_timeout_ms_max": CALM.election_timeout_ms_max,
    "leader_fallback_ms": CALM.leader_fallback_ms,
}
"""The same for processes."""
PATIENCE_S = 20.0
"""Until something must have happened on a busy machine."""
POLL_S = 0.01


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def make_thread(target: Callable[[], None], name: str) -> threading.Thread:
    return threading.Thread(target=target, name=name, daemon=True)


def encode_entries(entries: Sequence[Entry]) -> bytes:
    content = msgspec.msgpack.encode([(entry.index, entry.payload) for entry in entries])
    return content + crc32(content).to_bytes(4)


def decode_entries(content: bytes) -> list[Entry]:
    if crc32(content[:-4]).to_bytes(4) != content[-4:]:
        raise SnapshotUnfit("this is no state of a recorder")
    return [Entry(*each) for each in msgspec.msgpack.decode(content[:-4], type=list[tuple[int, bytes]])]


class Bell:
    """Rings for everybody who waits for it."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def ring(self) -> None:
        rung, self._next = self._next, asyncio.Event()
        rung.set()

    async def rung(self) -> None:
        await self._next.wait()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Look again at every ring."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await self._next.wait()


async def until_seen(condition: Callable[[], bool]) -> None:
    """Wait for what rings no bell, such as files and counters."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - see above
            await asyncio.sleep(POLL_S)


class Recorder:
    """A listener that remembers, and rings; and a machine whose state is all that it heard."""

    def __init__(self, bell: Bell) -> None:
        self.entries: list[Entry] = []
        self.restored: list[int] = []
        """The indexes of the snapshots that it went on from."""
        self.applied_index = 0
        self.statuses: list[LogStatus] = []
        self.fatal: list[BaseException] = []
        self._bell = bell

    @property
    def payloads(self) -> list[bytes]:
        return [entry.payload for entry in self.entries]

    def capture(self) -> Capture:
        return Capture(self.applied_index, self._pieces(encode_entries(self.entries)))

    async def _pieces(self, content: bytes) -> AsyncGenerator[bytes, None]:
        for begin in range(0, len(content), PIECE_BYTES):
            yield content[begin : begin + PIECE_BYTES]

    def decode(self, chunks: Iterator[bytes]) -> list[Entry]:
        return decode_entries(b"".join(chunks))

    def on_restored(self, state: object, index: int) -> None:
        assert isinstance(state, list)
        assert index > self.applied_index
        assert state[: len(self.entries)] == self.entries
        self.entries, self.applied_index = list(state), index
        self.restored.append(index)
        self._bell.ring()

    def on_entries(self, entries: Sequence[Entry], applied_index: int) -> None:
        assert entries
        assert self.applied_index < entries[0].index
        assert applied_index >= entries[-1].index
        assert [entry.index for entry in entries] == sorted({entry.index for entry in entries})
        assert not self.entries or self.entries[-1].index < entries[0].index
        self.entries += entries
        self.applied_index = applied_index
        self._bell.ring()

    def on_status(self, status: LogStatus) -> None:
        assert status.applied_index <= status.commit_index
        self.applied_index = status.applied_index
        assert not self.statuses or self.statuses[-1].term <= status.term
        self.statuses.append(status)
        self._bell.ring()

    def on_fatal(self, error: BaseException) -> None:
        self.fatal.append(error)
        self._bell.ring()


class Trio:
    """Three replicas and what their listeners heard. Replicas may be stopped and started again, and others may join."""

    def __init__(
        self, folder: Path, settings: RaftSettings = SETTINGS, *, tls: Callable[[str], TlsFiles] | None = None
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._tls = tls
        self._ports = dict(zip(IDS, free_ports(len(IDS)), strict=True))
        self._cables: dict[tuple[str, str], Cable] = {}
        self._folders: dict[str, Path] = {}
        self.members = [*IDS]
        """Who is told of whom."""
        self.disks: dict[str, str] = {}
        """Which disk the records know a node by."""
        self.bell = Bell()
        self.executor = ThreadPoolExecutor(1, thread_name_prefix="snapshots")
        self.replicas: dict[str, Replica] = {}
        self.recorders: dict[str, Recorder] = {}

    async def lay_cables(self) -> None:
        for one, other in (("n2", "n1"), ("n3", "n1"), ("n3", "n2")):  # the greater id connects
            await self._lay_cable(one, other)

    async def _lay_cable(self, one: str, other: str) -> None:
        cable = Cable(self._ports[other])
        await cable.start()
        while cable.port in self._ports.values():  # a node's, which does not listen yet
            await cable.stop()
            await cable.start()
        self._cables[one, other] = cable

    async def take_up_cables(self) -> None:
        for cable in self._cables.values():
            await cable.stop()

    def members_as_seen_by(self, node_id: str) -> list[Member]:
        cables = {other: cable.port for (one, other), cable in self._cables.items() if one == node_id}
        return [
            Member(each, f"127.0.0.1:{cables.get(each, self._ports[each])}", self.disks.get(each, ""))
            for each in self.members
        ]

    def folder(self, node_id: str) -> Path:
        return self._folders.get(node_id, self._folder / node_id)

    def make(
        self,
        node_id: str,
        *,
        machine: StateMachine | None = None,
        cluster_id: str = "c",
        disk_id: str | None = None,
        founders: Sequence[str] | None = IDS,
    ) -> Replica:
        return Replica(
            identity=Identity(cluster_id, node_id, disk_id or f"disk-{node_id}"),
            members=self.members_as_seen_by(node_id),
            founders=founders,
            folder=self.folder(node_id),
            settings=self._settings if self._tls is None else replace(self._settings, tls=self._tls(node_id)),
            thread_factory=make_thread,
            monotonic_ns=time.monotonic_ns,
            random=random.Random(),
            snapshots=None if machine is None else Snapshots(machine, self.executor),
        )

    async def start(self, node_id: str, *, founders: Sequence[str] | None = IDS, **identity: str) -> Replica:
        recorder = Recorder(self.bell)
        replica = self.make(node_id, machine=recorder, founders=founders, **identity)
        await replica.start(recorder)
        self.replicas[node_id], self.recorders[node_id] = replica, recorder
        return replica

    async def join(self, node_id: str, *, disk_id: str | None = None, folder: str = "") -> Replica:
        """A node with an empty folder comes as a learner, and everybody is told of it."""
        if folder:
            self._folders[node_id] = self._folder / folder
        if node_id not in self._ports:
            self._ports[node_id] = free_ports(1)[0]
            for other in [each for each in self._ports if each < node_id]:
                await self._lay_cable(node_id, other)
        if node_id not in self.members:
            self.members.append(node_id)
        identity = {} if disk_id is None else {"disk_id": disk_id}
        replica = await self.start(node_id, founders=None, **identity)
        self.tell()
        return replica

    async def found_again(self, node_id: str, *, folder: str, disk_id: str) -> Replica:
        """As `--bootstrap` does in an empty folder, whatever the node was before."""
        self._folders[node_id] = self._folder / folder
        return await self.start(node_id, disk_id=disk_id)

    def tell(self) -> None:
        """Everybody hears who the members are."""
        for node_id, replica in self.replicas.items():
            replica.set_members(self.members_as_seen_by(node_id))

    async def change(self, change: Change, *, but: str = "") -> str:
        """Have the leader do it, as soon as there is one that can. Its id is returned."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                leader = await self.leader(but=but)
                replica = self.replicas[leader]
                try:
                    await replica.change_voters(change, term=replica.status.term)
                except (ChangeRefused, NotLeader):
                    await self.bell.rung()
                else:
                    return leader

    async def hand_over(self, to: str = "") -> str:
        """Have somebody else lead, `to` if it is named, and ask again, as an operator would: who has only just been made a voter
        may not have heard of it, and does not stand then. Who leads is returned.
        """
        async with asyncio.timeout(PATIENCE_S):
            before = leader = await self.leader()
            while leader != to if to else leader == before:
                await self.replicas[leader].transfer_leadership(to or None)
                leader = await self.leader()
        return leader

    async def voters(self, *node_ids: str, by: Sequence[str] = ()) -> None:
        """Wait until `by`, or all, have applied that these vote and nobody else."""
        for node_id in by or [*self.replicas]:
            replica = self.replicas[node_id]
            await self.bell.until(lambda replica=replica: replica.status.voters == set(node_ids))  # type: ignore[misc]

    def port(self, node_id: str) -> int:
        """Where a node really listens."""
        return self._ports[node_id]

    async def stop(self, node_id: str) -> None:
        await self.replicas.pop(node_id).stop()

    def isolate(self, node_id: str) -> None:
        for pair, cable in self._cables.items():
            if node_id in pair:
                cable.cut()

    def mend(self) -> None:
        for cable in self._cables.values():
            cable.mend()

    async def leader(self, *, but: str = "") -> str:
        """The id of the node that leads, and that the others follow."""
        found = ""

        def agreed() -> bool:
            nonlocal found
            statuses = {node_id: each.status for node_id, each in self.replicas.items() if node_id != but}
            leaders = {status.leader for status in statuses.values()}
            terms = {status.term for status in statuses.values()}
            if len(leaders) != 1 or len(terms) != 1:
                return False
            found = leaders.pop() or ""
            return found in statuses and statuses[found].role is Role.LEADER

        await self.bell.until(agreed)
        return found

    def propose(self, node_id: str, *payloads: bytes) -> None:
        for payload in payloads:
            self.replicas[node_id].propose(payload, term=self.replicas[node_id].status.term)

    async def heard(self, *payloads: bytes, by: Sequence[str] = ()) -> None:
        """Wait until the listeners have heard `payloads`."""
        for node_id in by or list(self.replicas):
            recorder = self.recorders[node_id]
            await self.bell.until(lambda recorder=recorder: set(payloads) <= set(recorder.payloads))  # type: ignore[misc]


@asynccontextmanager
async def trio(
    folder: Path,
    settings: RaftSettings = SETTINGS,
    *,
    tls: Callable[[str], TlsFiles] | None = None,
    starting: Sequence[str] = IDS,
) -> AsyncIterator[Trio]:
    nodes = Trio(folder, settings, tls=tls)
    await nodes.lay_cables()
    try:
        for node_id in starting:
            await nodes.start(node_id)
        yield nodes
    finally:
        for replica in nodes.replicas.values():
            await replica.stop()
        await nodes.take_up_cables()
        nodes.executor.shutdown()
    assert {node_id: each.fatal for node_id, each in nodes.recorders.items() if each.fatal} == {}
