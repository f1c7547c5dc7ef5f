"""Who may write what, as one list of rules for all backends.

Duty: refuse the deposed, and what does not follow. To be asked while the backend holds whatever keeps the answer true
until the write is done: a row's lock, a file's lock, the loop's turn.

Must not know: any backend.
"""

from collections.abc import Sequence

from garbagetruck.storage.errors import ArchiveMoved, Fenced, IncarnationTaken, SpanUncovered
from garbagetruck.storage.records import ArchivedEntry, Incarnation, Span, Writer


def may_reserve(incarnation: Incarnation, reserved_id: str | None, highest: int) -> bool:
    """Whether it is new; False when it is there already, with this id. Raises IncarnationTaken."""
    if reserved_id == incarnation.id:
        return False
    if incarnation.number <= highest:
        raise IncarnationTaken(incarnation.number, highest)
    return True


def require_incarnation(incarnation: Incarnation, reserved_id: str | None, highest: int) -> None:
    """`reserved_id` is what its number was reserved with, None when it was not. Raises Fenced."""
    if reserved_id != incarnation.id:
        holder = "was never reserved" if reserved_id is None else "belongs to another life of the cluster"
        raise Fenced(f"incarnation {incarnation.number} {holder}", incarnation=highest)
    if highest > incarnation.number:
        raise Fenced(
            f"incarnation {incarnation.number} writes no more: {highest} has been restored from it", incarnation=highest
        )


def require_term(writer: Writer, latest_term: int) -> None:
    """Raises Fenced when a later term has written."""
    if writer.term < latest_term:
        raise Fenced(
            f"term {writer.term} writes to the archive no more: a leader of term {latest_term} has resumed it",
            incarnation=writer.incarnation.number,
            term=latest_term,
        )


def require_next(writer: Writer, span: Span | None, entries: Sequence[ArchivedEntry]) -> None:
    """Raises ArchiveMoved unless `entries` follow `span`, and Fenced when they are of an older history than it."""
    first = entries[0]
    if span is None or first.index != span.next_index:
        raise ArchiveMoved(first.index, None if span is None else span.next_index)
    if first.term < span.last_term:
        raise Fenced(
            f"entry {first.index} of term {first.term} cannot follow one of term {span.last_term}",
            incarnation=writer.incarnation.number,
            term=span.last_term,
        )


def require_covered(first_index: int, span: Span | None, furthest_snapshot: int | None) -> None:
    """Raises SpanUncovered unless a span may begin at `first_index`; `furthest_snapshot` is of the same incarnation."""
    assert first_index >= 1
    if span is not None and first_index <= span.next_index:
        raise SpanUncovered(f"a span at {first_index} would not leave a gap: the archive goes on at {span.next_index}")
    if first_index > 1 and (furthest_snapshot is None or furthest_snapshot < first_index - 1):
        reached = "there is none" if furthest_snapshot is None else f"the furthest reaches {furthest_snapshot}"
        raise SpanUncovered(f"a span at {first_index} needs a whole snapshot of entry {first_index - 1}: {reached}")
