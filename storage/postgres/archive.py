"""The archive in PostgreSQL: a row for each entry, and one for each span.

Invariants: whoever writes holds its incarnation's row for as long as its transaction lasts (`incarnations`), so that
writers come one after the other, and each sees all that the one before it committed. An entry is there only if a span
says so, for both are written in one transaction.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import Any, NoReturn

from typing_extensions import override

from garbagetruck.storage import fencing
from garbagetruck.storage.checksums import entry_checksum
from garbagetruck.storage.errors import ArchiveDamaged, EntriesMissing
from garbagetruck.storage.postgres.connections import Connections, Session
from garbagetruck.storage.postgres.incarnations import require_for_archive
from garbagetruck.storage.postgres.snapshots import list_in
from garbagetruck.storage.protocol import ArchiveStorage
from garbagetruck.storage.records import ArchivedEntry, Span, Writer, check_run
from garbagetruck.storage.retention import needed_from

PAGE_BYTES = 4 * 1024 * 1024
"""Payload that is read at once, less the last entry's."""
PAGE_ENTRIES_MAX = 2_000
TRIM_ENTRIES_MAX = 5_000
"""Entries that one transaction deletes: for that long, nothing can be appended."""

_COLUMNS = ("cluster_id", "incarnation", "index", "term", "archived_at_ms", "checksum", "payload")


class PostgresArchive(ArchiveStorage):
    def __init__(self, connections: Connections, cluster_id: str) -> None:
        self._connections = connections
        self._cluster_id = cluster_id

    @override
    async def resume(self, writer: Writer) -> Span | None:
        async with self._connections.transaction("resuming the archive") as session:
            await require_for_archive(session, self._cluster_id, writer)
            await self._written(session, writer, None)
            _, span = await self._last(session, writer)
        return span

    @override
    async def begin_span(self, writer: Writer, first_index: int) -> Span:
        number = writer.incarnation.number
        async with self._connections.transaction("beginning a span of the archive") as session:
            await require_for_archive(session, self._cluster_id, writer)
            place, span = await self._last(session, writer)
            furthest = await session.value("snapshot_furthest", self._cluster_id, number)
            fencing.require_covered(first_index, span, furthest)
            await session.change("span_insert", self._cluster_id, number, place + 1, first_index)
            await self._written(session, writer, None)
        return Span(first_index, first_index - 1, 0)

    @override
    async def append(self, writer: Writer, entries: Sequence[ArchivedEntry]) -> Span:
        check_run(writer, entries)
        cluster_id, number, last = self._cluster_id, writer.incarnation.number, entries[-1]
        records: list[tuple[object, ...]] = [
            (
                cluster_id,
                number,
                entry.index,
                entry.term,
                entry.archived_at_ms,
                entry_checksum(number, entry.index, entry.term, entry.payload),
                entry.payload,
            )
            for entry in entries
        ]
        async with self._connections.transaction("archiving entries") as session:
            await require_for_archive(session, cluster_id, writer)
            place, span = await self._last(session, writer)
            fencing.require_next(writer, span, entries)
            assert span is not None
            await session.copy("archive_entries", _COLUMNS, records)
            await session.change("span_grow", cluster_id, number, place, last.index, last.term)
            await self._written(session, writer, last.archived_at_ms)
        return Span(span.first_index, last.index, last.term)

    @override
    async def spans(self, incarnation: int) -> Sequence[Span]:
        async with self._connections.transaction("looking at the archive") as session:
            return [_span(row) for row in await session.rows("span_list", self._cluster_id, incarnation)]

    @override
    async def read(
        self, incarnation: int, from_index: int, to_index: int | None = None
    ) -> AsyncIterator[ArchivedEntry]:
        span = await self._holding(incarnation, from_index)
        last = span.last_index if to_index is None else min(to_index, span.last_index)
        index = from_index
        while index <= last:
            async with self._connections.transaction("reading the archive") as session:
                rows = await session.rows(
                    "entry_page", self._cluster_id, incarnation, index, last, PAGE_ENTRIES_MAX, PAGE_BYTES
                )
            if not rows:
                await self._gone(incarnation, index)
            for row in rows:
                if row["index"] != index:
                    await self._gone(incarnation, index)
                term, payload = row["term"], row["payload"]
                if entry_checksum(incarnation, index, term, payload) != row["checksum"]:
                    raise ArchiveDamaged(incarnation, index, "it is not what was written")
                yield ArchivedEntry(index, term, payload, row["archived_at_ms"])
                index += 1

    @override
    async def trim(self, writer: Writer, below_index: int) -> Sequence[Span]:
        own = writer.incarnation.number
        async with self._connections.transaction("trimming the archive") as session:
            await require_for_archive(session, self._cluster_id, writer)
            spans = defaultdict(list)
            for row in await session.rows("span_list_all", self._cluster_id):
                spans[row["incarnation"]].append(_span(row))
            snapshots = await list_in(session, self._cluster_id)
        for number, index in needed_from(spans, snapshots, own=own, below_index=below_index).items():
            while await self._trim_some(writer, number, index):
                pass
        return await self.spans(own)

    async def _trim_some(self, writer: Writer, number: int, needed_index: int) -> bool:
        """Whether there may be more. A snapshot that is finished meanwhile, and needs what goes, is not the furthest."""
        cluster_id = self._cluster_id
        async with self._connections.transaction("trimming the archive") as session:
            await require_for_archive(session, cluster_id, writer)
            first = await session.value("entry_first", cluster_id, number)
            index = needed_index if first is None else min(needed_index, first + TRIM_ENTRIES_MAX)
            await session.change("span_trim", cluster_id, number, index)
            await session.change("span_delete_empty", cluster_id, number, number == writer.incarnation.number)
            await session.change("entry_delete_below", cluster_id, number, index)
            await self._written(session, writer, None)
        return index < needed_index

    async def _last(self, session: Session, writer: Writer) -> tuple[int, Span | None]:
        """The last span and its place; 0 and None before there is one."""
        row = await session.row("span_last", self._cluster_id, writer.incarnation.number)
        return (0, None) if row is None else (row["span"], _span(row))

    async def _written(self, session: Session, writer: Writer, at_ms: int | None) -> None:
        await session.change("incarnation_written", self._cluster_id, writer.incarnation.number, writer.term, at_ms)

    async def _holding(self, incarnation: int, index: int) -> Span:
        """Raises EntriesMissing."""
        for span in await self.spans(incarnation):
            if span.first_index <= index <= span.next_index:
                return span
        raise EntriesMissing(incarnation, index)

    async def _gone(self, incarnation: int, index: int) -> NoReturn:
        """Say why an entry is not there: EntriesMissing when it was trimmed meanwhile, else ArchiveDamaged."""
        await self._holding(incarnation, index)
        raise ArchiveDamaged(incarnation, index, "it is not there")


def _span(row: Any) -> Span:
    return Span(row["first_index"], row["last_index"], row["last_term"])
