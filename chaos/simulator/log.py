"""The replicated log as a node sees it, over the modelled Raft.

Duty: hand proposals and questions over to the Raft thread, and entries, status and answers back to the node's loop, each
with a little delay and in order, as the real one does between its two threads.
Must not know: what entries mean.
"""

import asyncio
from collections.abc import Callable, Sequence

from typing_extensions import override

from garbagetruck.chaos.simulator.raft_model import RaftNode
from garbagetruck.chaos.simulator.world import NS_PER_MS, Process
from garbagetruck.cluster.raft.errors import ChangeRefused, LogStopped, NotLeader
from garbagetruck.cluster.raft.log import (
    AddVoter,
    Confirmation,
    Entry,
    LogListener,
    LogStatus,
    RemoveVoter,
    ReplicatedLog,
    Role,
)
from garbagetruck.cluster.raft.settings import Member

HAND_OFF_MS = (0.05, 4.0)
"""What handing over between the two threads takes, the less often the longer."""
TRANSFER_S_MAX = 2.0
ROLES = {"leader": Role.LEADER, "candidate": Role.CANDIDATE, "follower": Role.FOLLOWER}


class SimulatedLog(ReplicatedLog):
    """One node's log. `on_proposed` hears each payload at the moment it is proposed."""

    def __init__(
        self, *, process: Process, raft: RaftNode, peers: Sequence[str], on_proposed: Callable[[bytes], None]
    ) -> None:
        self._process = process
        self._raft = raft
        self._peers = tuple(peer for peer in peers if peer != process.name)
        self._on_proposed = on_proposed
        self._listener: LogListener | None = None
        self._status = LogStatus(Role.FOLLOWER, 0, None, 0, 0, 0, frozenset())
        self._handed_index = 0
        self._random = process.world.random(f"log-{process.name}-{process.world.now_ns}")
        self._last_ns = {True: 0, False: 0}
        self._asking: list[asyncio.Future[Confirmation]] = []
        """Waiting for their round to begin."""
        self._rounds: dict[int, list[asyncio.Future[Confirmation]]] = {}
        self._moved: list[asyncio.Future[None]] = []

    @property
    @override
    def status(self) -> LogStatus:
        return self._status

    @override
    async def start(self, listener: LogListener) -> None:
        self._listener = listener
        self._raft.on_change = self._changed
        self._raft.on_confirmed = self._confirmed
        self._changed()

    @override
    async def stop(self) -> None:
        self._listener = None
        self._fail(LogStopped("the log was stopped"))

    @override
    def propose(self, payload: bytes, *, term: int) -> None:
        if self._listener is None:
            raise LogStopped("the log was stopped")
        self._on_proposed(payload)
        self._hand_down(lambda: self._raft.propose(payload, term))

    @override
    async def confirm(self) -> Confirmation:
        if self._status.role is not Role.LEADER:
            raise NotLeader(self._status.leader)
        future: asyncio.Future[Confirmation] = asyncio.get_running_loop().create_future()
        if not self._asking:
            self._hand_down(self._begin_round)
        self._asking.append(future)
        return await future

    @override
    async def transfer_leadership(self, to: str | None = None) -> bool:
        before = self._status
        if before.role is not Role.LEADER:
            return False
        target = to or max(self._peers, key=lambda peer: (self._raft.reached(peer), peer))
        self._hand_down(lambda: self._raft.transfer(target))
        try:
            async with asyncio.timeout(TRANSFER_S_MAX):
                while self._status.term == before.term or self._status.leader in (None, self._process.name):
                    moved: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._moved.append(moved)
                    await moved
        except TimeoutError:
            return False
        return True

    @override
    def set_members(self, members: Sequence[Member]) -> None:
        """Nobody comes or goes in this model: `chaos/simulator/raft` has that."""

    @override
    async def change_voters(self, change: AddVoter | RemoveVoter, *, term: int) -> None:
        raise ChangeRefused("the modelled log has the voters that it was made with")

    # -- on the Raft thread -----------------------------------------------------------------------------------

    def _begin_round(self) -> None:
        asking, self._asking = self._asking, []
        number = self._raft.confirm()
        if number is not None:
            self._rounds[number] = asking
        else:
            leader = self._raft.leader
            self._hand_over(lambda: _fail_all(asking, NotLeader(leader)))

    def _confirmed(self, number: int, term: int, commit_index: int) -> None:
        asked = self._rounds.pop(number, [])
        self._hand_over(lambda: _answer_all(asked, Confirmation(term, commit_index)))

    def _changed(self) -> None:
        raft = self._raft
        commit_index, start = raft.commit_index, self._handed_index
        self._handed_index = commit_index
        entries = [
            Entry(start + offset + 1, payload)
            for offset, (_, payload) in enumerate(raft.disk.entries[start:commit_index])
            if payload is not None
        ]
        status = LogStatus(
            ROLES[raft.role],
            raft.term,
            raft.leader,
            commit_index,
            commit_index,
            raft.last_index,
            frozenset(self._peers),
            voters=frozenset({self._process.name, *self._peers}),
        )
        lost = [] if raft.role == "leader" else [future for asked in self._rounds.values() for future in asked]
        if lost:
            self._rounds.clear()
        self._hand_over(lambda: self._deliver(entries, status, lost))

    def _hand_down(self, action: Callable[[], None]) -> None:
        """From the node's loop to the Raft thread."""
        self._process.post(self._delay_ns(down=True), action)

    def _hand_over(self, action: Callable[[], None]) -> None:
        """From the Raft thread to the node's loop."""
        self._process.post(self._delay_ns(down=False), lambda: self._process.loop.call_soon(action))

    def _delay_ns(self, *, down: bool) -> int:
        low, high = HAND_OFF_MS
        now_ns = self._process.world.now_ns
        at_ns = now_ns + int((low + (high - low) * self._random.random() ** 4) * NS_PER_MS)
        self._last_ns[down] = max(at_ns, self._last_ns[down] + 1)
        return self._last_ns[down] - now_ns

    # -- on the node's loop -----------------------------------------------------------------------------------

    def _deliver(self, entries: list[Entry], status: LogStatus, lost: "list[asyncio.Future[Confirmation]]") -> None:
        if self._listener is None:
            return
        self._status = status
        if entries:
            self._listener.on_entries(entries, status.applied_index)
        self._listener.on_status(status)
        _fail_all(lost, NotLeader(status.leader))
        moved, self._moved = self._moved, []
        for future in moved:
            if not future.done():
                future.set_result(None)

    def _fail(self, error: Exception) -> None:
        _fail_all(self._asking, error)
        for asked in self._rounds.values():
            _fail_all(asked, error)
        self._asking.clear()
        self._rounds.clear()


def _fail_all(futures: "list[asyncio.Future[Confirmation]]", error: Exception) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)


def _answer_all(futures: "list[asyncio.Future[Confirmation]]", answer: Confirmation) -> None:
    for future in futures:
        if not future.done():
            future.set_result(answer)
