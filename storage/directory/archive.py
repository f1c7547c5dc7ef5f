"""The archive in a folder: for each incarnation a head, and segments that it tells of.

Invariants: entries are durable before the head tells of them, and the head is replaced in one step: so what it says is
there, and what a crash leaves beside it was never acknowledged. All under the folder's lock.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from typing_extensions import override

from garbagetruck.storage import fencing
from garbagetruck.storage.directory import segments
from garbagetruck.storage.directory.files import clear_unfinished, make_folder, read_record, sync_folder, write_record
from garbagetruck.storage.directory.place import Place
from garbagetruck.storage.directory.segments import Head
from garbagetruck.storage.directory.snapshots import DirectorySnapshots
from garbagetruck.storage.errors import EntriesMissing
from garbagetruck.storage.protocol import ArchiveStorage
from garbagetruck.storage.records import ArchivedEntry, Span, Writer, check_run
from garbagetruck.storage.retention import needed_from, trimmed

PAGE_ENTRIES_MAX = 64
"""Entries that are read at once."""


class DirectoryArchive(ArchiveStorage):
    def __init__(self, place: Place, snapshots: DirectorySnapshots) -> None:
        self._place = place
        self._snapshots = snapshots

    @override
    async def resume(self, writer: Writer) -> Span | None:
        return await self._place.run(self._resume, writer)

    @override
    async def begin_span(self, writer: Writer, first_index: int) -> Span:
        return await self._place.run(self._begin_span, writer, first_index)

    @override
    async def append(self, writer: Writer, entries: Sequence[ArchivedEntry]) -> Span:
        check_run(writer, entries)
        return await self._place.run(self._append, writer, entries)

    @override
    async def spans(self, incarnation: int) -> Sequence[Span]:
        return await self._place.run(self._spans, incarnation)

    @override
    async def read(
        self, incarnation: int, from_index: int, to_index: int | None = None
    ) -> AsyncIterator[ArchivedEntry]:
        entries = await self._place.run(self._open, incarnation, from_index, to_index)
        while page := await self._place.run(self._page, entries):
            for entry in page:
                yield entry

    @override
    async def trim(self, writer: Writer, below_index: int) -> Sequence[Span]:
        return await self._place.run(self._trim, writer, below_index)

    # --- on the executor --------------------------------------------------------------------------------------------

    def _resume(self, writer: Writer) -> Span | None:
        with self._place.changing("resuming the archive in"):
            head = self._as(writer)
            clear_unfinished(self._place.archive(writer.incarnation.number))
            self._put(writer, head)
            return head.spans[-1] if head.spans else None

    def _begin_span(self, writer: Writer, first_index: int) -> Span:
        with self._place.changing("beginning a span of the archive in"):
            head = self._as(writer)
            own = [
                each.header.index
                for each in self._snapshots.found_whole()
                if each.header.incarnation == writer.incarnation
            ]
            fencing.require_covered(first_index, head.spans[-1] if head.spans else None, max(own, default=None))
            span = Span(first_index, first_index - 1, 0)
            self._put(writer, replace(head, spans=(*head.spans, span)))
            return span

    def _append(self, writer: Writer, entries: Sequence[ArchivedEntry]) -> Span:
        number, last = writer.incarnation.number, entries[-1]
        with self._place.changing("archiving entries in"):
            head = self._as(writer)
            fencing.require_next(writer, head.spans[-1] if head.spans else None, entries)
            grown = segments.append(self._place.archive(number), number, head, entries)
            span = Span(head.spans[-1].first_index, last.index, last.term)
            spans = (*head.spans[:-1], span)
            self._put(writer, replace(head, spans=spans, segments=grown, written_at_ms=last.archived_at_ms))
            return span

    def _spans(self, incarnation: int) -> Sequence[Span]:
        with self._place.looking("looking at the archive in"):
            return list(self._head(incarnation).spans)

    def _open(self, incarnation: int, from_index: int, to_index: int | None) -> Iterator[ArchivedEntry]:
        with self._place.looking("reading the archive in"):
            head = self._head(incarnation)
        for span in head.spans:
            if span.first_index <= from_index <= span.next_index:
                last = span.last_index if to_index is None else min(to_index, span.last_index)
                folder = self._place.archive(incarnation)
                return segments.read(folder, incarnation, head.segments, from_index, last)
        raise EntriesMissing(incarnation, from_index)

    def _page(self, entries: Iterator[ArchivedEntry]) -> list[ArchivedEntry]:
        with self._place.looking("reading the archive in"):
            return list(islice(entries, PAGE_ENTRIES_MAX))

    def _trim(self, writer: Writer, below_index: int) -> Sequence[Span]:
        own = writer.incarnation.number
        with self._place.changing("trimming the archive in"):
            self._put(writer, self._as(writer))
            spans = {number: self._head(number).spans for number in self.incarnations()}
            needed = needed_from(spans, self._snapshots.found_whole(), own=own, below_index=below_index)
            for number, index in needed.items():
                self._let_go(number, index, keep_last=number == own)
            return list(self._head(own).spans)

    def _let_go(self, number: int, needed_index: int, *, keep_last: bool) -> None:
        """Of what is below, as far as it fills whole files: the head forgets them first."""
        folder, head = self._place.archive(number), self._head(number)
        spans = trimmed(head.spans, needed_index, keep_last=keep_last)
        kept = tuple(each for each in head.segments if any(each.overlaps(span) for span in spans))
        widened = [
            replace(
                span,
                first_index=min([each.first_index for each in kept if each.overlaps(span)], default=span.next_index),
            )
            for span in spans
        ]
        write_record(folder / "head", replace(head, spans=tuple(widened), segments=kept))
        names = {each.name for each in kept}
        for path in folder.glob("*.seg"):
            if path.name not in names:
                path.unlink()
        sync_folder(folder)

    def incarnations(self) -> list[int]:
        """Those with an archive."""
        return sorted(int(path.name) for path in (self._place.folder / "archive").glob("[0-9]*"))

    def heads(self) -> list[Head]:
        return [self._head(number) for number in self.incarnations()]

    def _as(self, writer: Writer) -> Head:
        """Raises Fenced."""
        self._place.require(writer.incarnation)
        folder = self._place.archive(writer.incarnation.number)
        make_folder(folder)
        head = self._head(writer.incarnation.number)
        fencing.require_term(writer, head.term)
        return head

    def _head(self, incarnation: int) -> Head:
        return read_record(self._path(incarnation), Head) or Head()

    def _put(self, writer: Writer, head: Head) -> None:
        head = replace(head, term=writer.term, writes=head.writes + 1)
        write_record(self._path(writer.incarnation.number), head)

    def _path(self, incarnation: int) -> Path:
        return self._place.archive(incarnation) / "head"
