"""This node's digests against the others': a difference is found, announced and contained (I3).

Duty: take the state's digest behind every `EVERY_ENTRIES`th index, right after that entry was applied. Leading, note one
in the log now and then. Everywhere, compare what was noted with one's own, and report one's own when there is a difference.

Invariants:

- Whoever sees a difference, by itself or in another's report, starts no cleanup any more, whatever its own machine says:
  `holds_cleanups`. The machine's pause, which is the cluster's, comes through the log.
- A node ends when more than half of the voters reported a digest that its own is not; with no such half all stay up, paused.
- Without a digest of its own at an index, as after a restart or behind a snapshot, a node says and concludes nothing.
- Bounded: the ring, one note and one report under way.

Must not know: what a digest is made of. Runs on the node's main loop; `holds_cleanups` may be read by any thread.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

import structlog
from typing_extensions import override

from garbagetruck.cluster.api.gateway import OperatingError
from garbagetruck.cluster.machine import digests, features
from garbagetruck.cluster.machine.digest_notes import DigestNote
from garbagetruck.cluster.machine.machine import Applied, Machine
from garbagetruck.cluster.machine.operations import NoteDigest, Operation, ReportDigest
from garbagetruck.cluster.machine.outcomes import Outcome
from garbagetruck.cluster.node.applier import ApplyListener
from garbagetruck.cluster.node.clock import NS_PER_MS
from garbagetruck.cluster.node.endings import StateDiverged
from garbagetruck.cluster.node.fatal import OnFatal
from garbagetruck.cluster.raft.log import LogStatus

EVERY_ENTRIES = 32
"""At which indexes digests are taken: at its multiples. The same on all nodes, or they have none in common."""
RING_MAX = 1_024
"""Digests of its own that a node keeps; the oldest goes."""
NOTED_AFTER_ENTRIES = 1_024
"""A leader notes a digest this many entries behind the last one that was noted..."""
NOTED_AFTER_MS = 30_000
"""...or this long after it, once there is a newer one."""
TIMEOUT_S = 5.0
"""Of a note or a report."""
PAUSE_MS = 1_000
"""Before another attempt at one."""
HEARD_MS = 5_000
"""How long a leader that heard a report waits for it in the log, before it brings it there itself."""

_log = structlog.get_logger(__name__)


class Leading(Protocol):
    """Whether this node leads."""

    @property
    def leading(self) -> bool: ...


class Proposals(Protocol):
    """The leader's own way to the log."""

    async def submit(self, operations: Sequence[Operation], *, timeout_s: float) -> Sequence[Outcome]: ...


class Reports(Protocol):
    """Any node's way to the leader."""

    async def submit(self, operations: Sequence[ReportDigest], *, timeout_s: float) -> Sequence[Outcome]: ...


class DigestWatch(ApplyListener):
    """Hears what was applied before whoever acts on it. `on_fatal` ends the node when it has to go, or at a bug."""

    def __init__(
        self,
        *,
        node_id: str,
        machine: Machine,
        applied_index: Callable[[], int],
        leading: Leading,
        queue: Proposals,
        monotonic_ns: Callable[[], int],
        on_fatal: OnFatal,
        noted_after_entries: int | None = None,
    ) -> None:
        """`noted_after_entries`: by default `NOTED_AFTER_ENTRIES`; of a simulation, which has no time for so many."""
        self._noted_after_entries = noted_after_entries
        self._node_id = node_id
        self._machine = machine
        self._applied_index = applied_index
        self._leading = leading
        self._queue = queue
        self._reports: Reports | None = None
        self._monotonic_ns = monotonic_ns
        self._on_fatal = on_fatal
        self._ring: dict[int, int] = {}
        """Index -> digest, the oldest first."""
        self._noted = (0, monotonic_ns())
        """(index, when it was first seen here) of the last note."""
        self._held_by: int | None = None
        """Index of the note at which a difference was seen."""
        self._paused_since = False
        """The machine has paused since then."""
        self._heard: tuple[ReportDigest, int] | None = None
        """(what another reported of a difference, when it was heard), until the log has it."""
        self._under_way: asyncio.Task[Sequence[Outcome]] | None = None
        self._quiet_until_ns = 0
        self._stopped = False
        self.agreed_index = 0
        """The highest index at which this node had the digest that another noted."""
        self.differences = 0
        """How often, in this process, a difference was seen."""

    def report_through(self, reports: Reports) -> None:
        """Say how reports reach the leader. Before the log starts."""
        self._reports = reports

    @property
    def holds_cleanups(self) -> bool:
        """Whether this node must start no cleanup, since its state, or that of others, is not to be trusted."""
        return self._held_by is not None

    def hear(self, report: ReportDigest) -> None:
        """As leader, be told of a report before it is in the log: it needs no majority to stop this node's cleanups.

        Who sent it may be gone before it got there. Then this node brings it there, so that all pause, and an operator
        hears of it.
        """
        noted = next((each for each in self._machine.digest_notes() if each.index == report.index), None)
        if noted is not None and noted.digest != report.digest:
            self._hold(noted, report.node_id, report.digest)
            self._heard = report, self._monotonic_ns()

    async def stop(self) -> None:
        """Send nothing more. Idempotent."""
        self._stopped = True
        if self._under_way is not None:
            self._under_way.cancel()
            await asyncio.gather(self._under_way, return_exceptions=True)

    # -- what the applier tells -------------------------------------------------------------------------------

    @override
    def on_applied(self, applied: Applied) -> None:
        index = self._applied_index()
        if index % EVERY_ENTRIES:
            return
        self._ring[index] = self._machine.digest()
        if len(self._ring) > RING_MAX:
            del self._ring[next(iter(self._ring))]

    @override
    def on_restored(self) -> None:
        self._ring.clear()  # what this node had is not what it has now

    @override
    def on_status(self, status: LogStatus) -> None:
        """Nothing: who leads is asked when something is to be noted."""

    @override
    def on_progress(self) -> None:
        if self._stopped:
            return
        notes = self._machine.digest_notes()
        if notes and notes[-1].index != self._noted[0]:
            self._noted = (notes[-1].index, self._monotonic_ns())
        wanted: ReportDigest | None = None
        for noted in notes:
            own = self._ring.get(noted.index)
            if own is None:
                continue
            self._compare(noted, own)
            if self._is_wrong(noted, own):
                self._stopped = True
                return
            if self._should_report(noted, own):
                wanted = ReportDigest(noted.index, self._node_id, own)
        wanted = wanted or self._overdue(notes)
        self._let_go(notes)
        if self._under_way is not None or self._monotonic_ns() < self._quiet_until_ns:
            return
        if wanted is not None:
            self._send(self._report(wanted))
        elif (note := self._due()) is not None:
            self._send(self._note(note))

    # -- judging ----------------------------------------------------------------------------------------------

    def _compare(self, noted: DigestNote, own: int) -> None:
        if own != noted.digest:
            self._hold(noted, self._node_id, own)
        elif noted.noted_by != self._node_id:
            self.agreed_index = max(self.agreed_index, noted.index)
        for node_id, digest in noted.reports:
            if digest != noted.digest:
                self._hold(noted, node_id, digest)

    def _hold(self, noted: DigestNote, node_id: str, digest: int) -> None:
        if self._held_by is not None and self._held_by >= noted.index:
            return
        self._held_by = noted.index
        self.differences += 1
        _log.error(
            "digests_differ",
            index=noted.index,
            noted_by=noted.noted_by,
            noted=f"{noted.digest:016x}",
            node=node_id,
            digest=f"{digest:016x}",
        )

    def _let_go(self, notes: Sequence[DigestNote]) -> None:
        """Cleanups go on when an operator has resumed them. Where no report ever got into the log, when a later note of
        another node's agrees with this one, or when the note has gone: whoever differs still does so at a later one.
        """
        if self._held_by is None:
            return
        if self._machine.cleanups_paused:
            self._paused_since = True
        elif (
            self._paused_since
            or self.agreed_index > self._held_by
            or all(each.index != self._held_by for each in notes)
        ):
            _log.warning("digests_settled", index=self._held_by)
            self._held_by, self._paused_since = None, False

    def _is_wrong(self, noted: DigestNote, own: int) -> bool:
        """End the node when most others have another digest."""
        right = digests.majority(noted, self._machine.voters())
        if right is None or right == own:
            return False
        agreeing = tuple(sorted(each for each, digest in digests.digests_of(noted).items() if digest == right))
        self._on_fatal(StateDiverged(node_id=self._node_id, index=noted.index, own=own, right=right, agreeing=agreeing))
        return True

    def _overdue(self, notes: Sequence[DigestNote]) -> ReportDigest | None:
        """What was heard, and should be in the log by now."""
        if self._heard is None:
            return None
        report, heard_ns = self._heard
        noted = next((each for each in notes if each.index == report.index), None)
        if noted is None or report.node_id in dict(noted.reports):
            self._heard = None
            return None
        return report if self._monotonic_ns() - heard_ns >= HEARD_MS * NS_PER_MS else None

    def _should_report(self, noted: DigestNote, own: int) -> bool:
        told = digests.digests_of(noted).get(self._node_id)
        return told != own and (own != noted.digest or noted.differs)

    # -- telling ----------------------------------------------------------------------------------------------

    def _due(self) -> NoteDigest | None:
        """What a leader notes next, if it is time: nothing while a difference has been judged and not been settled."""
        last_index, seen_ns = self._noted
        index = next(reversed(self._ring), 0)
        if not self._leading.leading or index <= last_index:
            return None
        entries, passed_ns = index - last_index, self._monotonic_ns() - seen_ns
        if entries < (self._noted_after_entries or NOTED_AFTER_ENTRIES) and passed_ns < NOTED_AFTER_MS * NS_PER_MS:
            return None
        if self._machine.feature_level < features.LEVELS[NoteDigest] or self._judged():
            return None
        return NoteDigest(index, self._ring[index])

    def _judged(self) -> bool:
        noted = self._machine.open_difference()
        return noted is not None and digests.majority(noted, self._machine.voters()) is not None

    async def _note(self, note: NoteDigest) -> Sequence[Outcome]:
        return await self._queue.submit((note,), timeout_s=TIMEOUT_S)

    async def _report(self, report: ReportDigest) -> Sequence[Outcome]:
        assert self._reports is not None, "there is a way to the leader before there are notes"
        _log.warning("reporting_digest", index=report.index, node=report.node_id, digest=f"{report.digest:016x}")
        return await self._reports.submit((report,), timeout_s=TIMEOUT_S)

    def _send(self, sending: Coroutine[Any, Any, Sequence[Outcome]]) -> None:
        self._under_way = asyncio.get_running_loop().create_task(sending, name="digest")
        self._under_way.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[Sequence[Outcome]]) -> None:
        """Whatever came of it shows in the log, or is tried again when something was applied, and not at once."""
        self._under_way = None
        self._quiet_until_ns = self._monotonic_ns() + PAUSE_MS * NS_PER_MS
        error = None if task.cancelled() else task.exception()
        if isinstance(error, OperatingError):
            _log.info("digest_not_sent", reason=str(error))
        elif error is not None:
            self._on_fatal(error)
