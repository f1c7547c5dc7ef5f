"""Archives what is committed, while this node leads; and follows how far the archive is, while it does not.

Duty: a cursor over the log. A new leader takes the archive over, goes on behind the highest contiguous index, and appends
bounded runs, soon after they were applied. What the log has let go of is a gap, behind which the archive begins anew once
a snapshot covers it.

Invariants: entries are archived in order, each once: the storage refuses anything else. Whatever the storage does or
does not do, nothing in the cluster waits for it (I10): this is a task of its own, and what it meets, be it a bug, is told
and tried again. The log is kept for it within `backlog_bytes_max`, on every node, since any may lead next.

Must not know: what entries mean, and any backend.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from typing_extensions import override

from garbagetruck.cluster.api.gateway import OperatingError
from garbagetruck.cluster.node.archiving.copier import NothingToCopy, SnapshotCopier
from garbagetruck.cluster.node.archiving.life import Life, NotYet
from garbagetruck.cluster.node.archiving.progress import ArchiveProgress
from garbagetruck.cluster.node.leadership import LeadershipObserver
from garbagetruck.cluster.raft.cursor import CommittedEntry, LogCursor, Run
from garbagetruck.storage.errors import Fenced, IncarnationTaken, StorageError
from garbagetruck.storage.protocol import Storage
from garbagetruck.storage.records import INTEGER_MAX, ArchivedEntry, Incarnation, Span, Writer

FOLLOW_S = 5.0
"""How often a node that does not lead asks how far the archive is."""
RETRY_S_MIN = 0.5
RETRY_S_MAX = 10.0
TRIM_S = 60.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiverSettings:
    """How often, and how much is kept meanwhile."""

    interval_s: float
    backlog_bytes_max: int


class Archiver(LeadershipObserver):
    """`run` it for as long as the node runs. On the node's main loop."""

    def __init__(
        self,
        *,
        storage: Storage,
        life: Life,
        cursor: LogCursor,
        copier: SnapshotCopier,
        progress: ArchiveProgress,
        settings: ArchiverSettings,
        monotonic_ns: Callable[[], int],
        wall_ms: Callable[[], int],
    ) -> None:
        self._storage = storage
        self._life = life
        self._cursor = cursor
        self._copier = copier
        self._progress = progress
        self._settings = settings
        self._monotonic_ns = monotonic_ns
        self._wall_ms = wall_ms
        self._epoch = 0
        self._changed = asyncio.Event()
        self._retry_s = RETRY_S_MIN
        self._trimmed_ns: int | None = None

    @override
    def started_leading(self, epoch: int) -> None:
        self._epoch = epoch
        self._changed.set()

    @override
    def stopped_leading(self, epoch: int) -> None:
        # What is under way may come through or not: it is committed, and the storage keeps the order.
        self._epoch = 0
        self._changed.set()

    async def run(self) -> None:
        """Lead or follow, for ever. Raises nothing."""
        self._cursor.keep_from(0, self._settings.backlog_bytes_max)  # nothing is known to be archived
        while True:
            try:
                if self._epoch:
                    await self._lead(self._epoch)
                else:
                    await self._follow()
                    await self._pause(FOLLOW_S)
            except (Fenced, IncarnationTaken) as error:
                await self._failed(await self._life.refused(error))
            except (StorageError, NotYet, NothingToCopy, OperatingError) as error:
                await self._failed(str(error))
            except Exception as error:  # noqa: BLE001  # whoever leads next would meet it, too, and end after this node
                _log.exception("archiver_bug")
                await self._failed(f"{type(error).__name__}: see the log")

    async def catch_up(self) -> None:
        """Return when everything that is applied here by now is archived, by whoever leads. The caller sets a deadline."""
        applied_index = (await self._cursor.read(INTEGER_MAX)).applied_index
        while self._progress.archived_index < applied_index:
            self._changed.set()
            await asyncio.sleep(self._settings.interval_s / 4)

    # -- leading ----------------------------------------------------------------------------------------------

    async def _lead(self, epoch: int) -> None:
        """Until this node leads no longer. Raises what stands in the way."""
        writer = Writer(await self._life.reserve(), epoch)
        span = await self._storage.archive.resume(writer)
        _log.info("archiving", from_index=1 if span is None else span.next_index)
        while self._epoch == epoch:
            span = await self._archive_waiting(writer, span)
            self._succeeded()
            await self._trim(writer)
            await self._pause(self._settings.interval_s)

    async def _archive_waiting(self, writer: Writer, span: Span | None) -> Span | None:
        """Append all that is applied by now."""
        while True:
            next_index = 1 if span is None else span.next_index
            run = await self._cursor.read(next_index)
            self._progress.applied(run.applied_index, self._monotonic_ns())
            if span is None or (not run.entries and run.available_from > next_index):
                if run.available_from > run.applied_index and not run.entries:
                    return span  # nothing is there yet that a span could begin with
                span = await self._begin_span(writer, run)
                continue
            # The log may follow a later leader already, before this loop has heard of it: the rest is that one's to archive.
            entries = [each for each in run.entries if each.term <= writer.term]
            if not entries:
                return span
            span = await self._append(writer, entries)

    async def _append(self, writer: Writer, entries: Sequence[CommittedEntry]) -> Span:
        now_ms = self._wall_ms()
        span = await self._storage.archive.append(
            writer, [ArchivedEntry(each.index, each.term, each.payload, now_ms) for each in entries]
        )
        self._note(span)
        return span

    async def _begin_span(self, writer: Writer, run: Run) -> Span:
        """Leave a gap: a snapshot has to reach over it."""
        index = run.available_from
        if index > 1:
            _log.warning("archive_gap", begins_anew_at=index)
            await self._cover(writer.incarnation, index - 1)
        span = await self._storage.archive.begin_span(writer, index)
        self._note(span)
        return span

    async def _cover(self, incarnation: Incarnation, index: int) -> None:
        for stored in await self._storage.snapshots.whole():
            if stored.header.incarnation == incarnation and stored.header.index >= index:
                return
        stored = await self._copier.copy(incarnation, fresh=False)
        if stored.header.index < index:
            await self._copier.copy(incarnation, fresh=True)

    async def _trim(self, writer: Writer) -> None:
        now_ns = self._monotonic_ns()
        if self._trimmed_ns is None or now_ns - self._trimmed_ns > TRIM_S * 1_000_000_000:
            self._trimmed_ns = now_ns
            await self._storage.archive.trim(writer, INTEGER_MAX)

    # -- following --------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        incarnation = self._life.present
        applied_index = (await self._cursor.read(INTEGER_MAX)).applied_index
        self._progress.applied(applied_index, self._monotonic_ns())
        if incarnation is None:
            return
        reserved = await self._storage.incarnations.reserved()
        if all(each.incarnation != incarnation for each in reserved):
            return
        spans = await self._storage.archive.spans(incarnation.number)
        if spans:
            self._note(spans[-1])
        self._succeeded()

    # -- both -------------------------------------------------------------------------------------------------

    def _note(self, span: Span) -> None:
        self._progress.archived(span.last_index)
        self._cursor.keep_from(span.next_index, self._settings.backlog_bytes_max)

    def _succeeded(self) -> None:
        if self._progress.failure:
            _log.info("archive_reached", archived_index=self._progress.archived_index)
        self._progress.failure = ""
        self._retry_s = RETRY_S_MIN

    async def _failed(self, why: str) -> None:
        if self._progress.failure != why:
            _log.warning("archive_waits", reason=why, archived_index=self._progress.archived_index)
        self._progress.failure = why
        await self._keep_time(self._retry_s)
        self._retry_s = min(2 * self._retry_s, RETRY_S_MAX)

    async def _keep_time(self, delay_s: float) -> None:
        """Wait, and note meanwhile what waits to be archived, so that the lag is seen."""
        run = await self._cursor.read(INTEGER_MAX)
        self._progress.applied(run.applied_index, self._monotonic_ns())
        await self._pause(delay_s)

    async def _pause(self, delay_s: float) -> None:
        """Until `delay_s` has passed, or this node begins or ceases to lead."""
        self._changed.clear()
        try:
            async with asyncio.timeout(delay_s):
                await self._changed.wait()
        except TimeoutError:
            return
