"""The replicated log of one node, through pysyncobj: the main loop's side.

Duty: be a `ReplicatedLog`. Everything that touches pysyncobj happens on the Raft thread (`engine`); this side hands
requests over and takes what comes back, on the loop that called `start`.

Invariants: the listener hears nothing before `start` returns from opening, and nothing after `stop` was called or
`on_fatal`. What the Raft thread or the listener raises is reported once, and is the end: nothing is tried again.
"""

import asyncio
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import uvloop

from garbagetruck.cluster.raft.changing import Changed, ChangeVoters
from garbagetruck.cluster.raft.cursor import LogCursor
from garbagetruck.cluster.raft.disk import REAL_DISK, Disk
from garbagetruck.cluster.raft.engine import Engine
from garbagetruck.cluster.raft.errors import LogStopped, NotLeader, ProposalTooLarge
from garbagetruck.cluster.raft.exchange import (
    Confirm,
    Confirmed,
    HandOff,
    Propose,
    Reply,
    SnapshotDue,
    Transfer,
    Transferred,
)
from garbagetruck.cluster.raft.journal.writer import ThreadFactory
from garbagetruck.cluster.raft.log import Change, Confirmation, LogListener, LogStatus, Role
from garbagetruck.cluster.raft.network import Network
from garbagetruck.cluster.raft.settings import Identity, Member, RaftSettings, check_members
from garbagetruck.cluster.raft.snapshots.capturing import write_capture
from garbagetruck.cluster.raft.snapshots.port import Snapshots
from garbagetruck.cluster.raft.storage import Storage


class Replica:
    """A `ReplicatedLog` that keeps its files in `folder`, which no other process may use.

    `snapshots` is the machine behind the log; without it the log is never compacted. `members` are all nodes to talk to, this
    one included, until `set_members` names others. `founders` are the voters of a log that begins; None for a node that
    joins one. They are looked at when the folder has no log yet, and stored in it. `disk` and `network` are for simulators.
    Raises ValueError when `members` are no cluster that `identity` belongs to.
    """

    def __init__(  # noqa: PLR0913  # the whole world of a node's log comes in here
        self,
        *,
        identity: Identity,
        members: Sequence[Member],
        founders: Sequence[str] | None,
        folder: Path,
        settings: RaftSettings,
        thread_factory: ThreadFactory,
        monotonic_ns: Callable[[], int],
        random: random.Random,
        snapshots: Snapshots | None = None,
        disk: Disk = REAL_DISK,
        network: Network | None = None,
    ) -> None:
        check_members(identity, members, settings)
        self._identity = identity
        self._settings = settings
        self._thread_factory = thread_factory
        self._engine = Engine(
            identity=identity,
            members=members,
            founders=founders,
            storage=Storage(folder, disk, snapshots),
            settings=settings,
            thread_factory=thread_factory,
            monotonic_ns=monotonic_ns,
            random=random,
            hand_over=lambda hand_off: self._post(self._on_hand_off, hand_off),
            network=network,
        )
        self._status = LogStatus(Role.FOLLOWER, 0, None, 0, 0, 0, frozenset())
        self._listener: LogListener | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._opened: asyncio.Future[None] | None = None
        self._ended: asyncio.Future[BaseException | None] | None = None
        self._running = False
        self._stop_requested = False
        self._asking: list[asyncio.Future[Confirmation]] = []
        """Callers of `confirm` whose round is under way."""
        self._waiting: list[asyncio.Future[Confirmation]] = []
        """Callers of `confirm` who came after it began, and share the next."""
        self._sequence = 0
        self._transfer: asyncio.Future[bool] | None = None
        self._changes: dict[int, asyncio.Future[None]] = {}
        """Callers of `change_voters`, by the sequence of what they asked for."""
        self._snapshots = snapshots
        self._capturing: asyncio.Task[None] | None = None

    # --- ReplicatedLog ----------------------------------------------------------------------------------------------

    @property
    def status(self) -> LogStatus:
        return self._status

    async def start(self, listener: LogListener) -> None:
        """Open the log and begin to take part.

        Raises StorageRefused when the folder's content must not be served, DiskFailed when it cannot be read, and OSError
        when the port cannot be used.
        """
        assert self._thread is None, "a replica is started once"
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._opened = self._loop.create_future()
        self._ended = self._loop.create_future()
        self._thread = self._thread_factory(self._run, f"raft-{self._identity.node_id}")
        self._thread.start()
        try:
            await self._opened
        except BaseException:
            await self._end()
            raise

    async def stop(self) -> None:
        """Leave the cluster. Raises what leaving the network or the disk raises."""
        if self._thread is None:
            return
        error = await self._end()
        if error is not None:
            raise error

    def propose(self, payload: bytes, *, term: int) -> None:
        self._require_running()
        if len(payload) > self._settings.proposal_bytes_max:
            raise ProposalTooLarge(len(payload), self._settings.proposal_bytes_max)
        self._engine.submit(Propose(payload, term))

    async def confirm(self) -> Confirmation:
        loop = self._require_running()
        if self._status.role is not Role.LEADER:
            raise NotLeader(self._status.leader)
        future: asyncio.Future[Confirmation] = loop.create_future()
        self._waiting.append(future)
        if not self._asking:
            self._begin_round()
        return await future

    async def transfer_leadership(self, to: str | None = None) -> bool:
        loop = self._require_running()
        if self._transfer is None:
            self._transfer = loop.create_future()
            self._engine.submit(Transfer(to))
        return await asyncio.shield(self._transfer)

    def set_members(self, members: Sequence[Member]) -> None:
        self._engine.set_members([*members])

    async def change_voters(self, change: Change, *, term: int) -> None:
        loop = self._require_running()
        self._sequence += 1
        sequence, future = self._sequence, loop.create_future()
        self._changes[sequence] = future
        self._engine.submit(ChangeVoters(sequence, change, term))
        await future

    # --- what is seen of it -----------------------------------------------------------------------------------------

    @property
    def dropped_proposals(self) -> int:
        """Proposals that were not appended: another term, a transfer, or too many at once."""
        return self._engine.dropped_proposals

    @property
    def cursor(self) -> LogCursor:
        """For who copies the log elsewhere."""
        return self._engine.snapshots.cursor

    @property
    def refusals(self) -> Mapping[str, int]:
        """What was refused from the network, by reason. Anything but zeros deserves a look."""
        return self._engine.refusals

    @property
    def is_space_low(self) -> bool:
        """Whether this node's disk has less room than `free_bytes_alarm` of the settings; measured every second."""
        return self._engine.is_space_low

    @property
    def journal_bytes(self) -> int:
        """The size of the log on disk, in bytes; about as much again is held in memory. Snapshots keep it within bounds."""
        return self._engine.journal_bytes

    # --- the Raft thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._live())
        except BaseException as raised:  # noqa: BLE001  # handed to the main loop, which ends the process
            error = raised
        self._post(self._on_ended, error)

    async def _live(self) -> None:
        if not self._stop_requested:
            await self._engine.run(self._on_engine_open)

    def _on_engine_open(self) -> None:
        self._post(self._on_opened)
        if self._stop_requested:  # while there was nothing to stop yet
            self._engine.stop()

    def _post(self, callback: Callable[..., None], *arguments: Any) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            if not self._loop.is_closed():
                raise
            self._engine.stop()  # nobody is left to hear of anything

    # --- the main loop ----------------------------------------------------------------------------------------------

    def _require_running(self) -> asyncio.AbstractEventLoop:
        if not self._running or self._loop is None:
            raise LogStopped
        return self._loop

    def _on_opened(self) -> None:
        assert self._opened is not None
        if not self._opened.done():
            self._running = True
            self._opened.set_result(None)

    def _on_ended(self, error: BaseException | None) -> None:
        assert self._opened is not None
        assert self._ended is not None
        if not self._opened.done():
            self._opened.set_exception(error or LogStopped())
            error = None
        elif error is not None and self._running:
            self._die(error)
            error = None
        self._ended.set_result(error)

    def _on_hand_off(self, hand_off: HandOff) -> None:
        if not self._running:
            return
        assert self._listener is not None
        try:
            if hand_off.restored is not None:
                self._listener.on_restored(hand_off.restored.state, hand_off.restored.index)
            if hand_off.entries:
                self._listener.on_entries(hand_off.entries, hand_off.applied_index)
            if hand_off.status is not None:
                self._status = hand_off.status
                self._listener.on_status(hand_off.status)
        except Exception as error:  # noqa: BLE001  # a node that could not apply an entry must not go on
            self._die(error)
            return
        for reply in hand_off.replies:
            self._on_reply(reply)

    def _on_reply(self, reply: Reply) -> None:
        match reply:
            case Confirmed(confirmation):
                asking, self._asking = self._asking, []
                for future in asking:
                    if future.done():
                        continue
                    if confirmation is None:
                        future.set_exception(NotLeader(self._status.leader))
                    else:
                        future.set_result(confirmation)
                if self._waiting:
                    self._begin_round()
            case Transferred(done):
                assert self._transfer is not None
                self._transfer.set_result(done)
                self._transfer = None
            case Changed(sequence, failure):
                changed = self._changes.pop(sequence)
                if changed.done():
                    return  # whoever asked waits no longer
                if failure is None:
                    changed.set_result(None)
                else:
                    changed.set_exception(failure)
            case SnapshotDue():
                assert self._capturing is None or self._capturing.done(), "one snapshot at a time"
                self._capturing = asyncio.get_running_loop().create_task(self._capture(), name="snapshot")

    async def _capture(self) -> None:
        work = self._engine.snapshots
        assert self._snapshots is not None
        try:
            work.ended(
                await write_capture(
                    self._snapshots, work.store, lambda index: asyncio.wrap_future(work.describe(index))
                )
            )
        except Exception as error:  # noqa: BLE001  # the disk failed, or the machine has a bug
            if self._running:
                self._die(error)

    def _begin_round(self) -> None:
        self._asking, self._waiting = self._waiting, []
        self._sequence += 1
        self._engine.submit(Confirm(self._sequence))

    def _die(self, error: BaseException) -> None:
        assert self._listener is not None
        self._request_stop()
        self._listener.on_fatal(error)

    def _request_stop(self) -> None:
        self._running = False
        self._stop_requested = True
        self._engine.stop()
        waiting: list[asyncio.Future[Any]] = [*self._asking, *self._waiting, *self._changes.values()]
        for future in waiting:
            if not future.done():
                future.set_exception(LogStopped())
        self._asking, self._waiting, self._changes = [], [], {}
        if self._transfer is not None and not self._transfer.done():
            self._transfer.set_result(False)

    async def _end(self) -> BaseException | None:
        """Have the thread end, and return what it raised unless that was reported before."""
        assert self._thread is not None
        assert self._ended is not None
        self._request_stop()
        if self._capturing is not None:
            self._capturing.cancel()
            await asyncio.wait({self._capturing})
        error = await asyncio.shield(self._ended)
        self._thread.join()
        if self._snapshots is not None:  # what was given to it before is done, too: the folder is nobody's then
            await asyncio.wrap_future(self._snapshots.executor.submit(lambda: None))
        return error
