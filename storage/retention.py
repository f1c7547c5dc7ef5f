"""Which snapshots are kept, and which entries are needed for those.

Duty: the rules, as functions of what is there. Invariants: the ones that go furthest are always kept; nothing that a kept
snapshot needs is let go. Must not know: any backend; what time it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from garbagetruck.storage.records import SnapshotHeader, Span, StoredSnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Snapshots of all nodes count together. Raises ValueError when the bounds contradict each other."""

    count_min: int
    """This many that go furthest are kept, however old they are."""
    count_max: int
    """Never more than this many."""
    age_ms_max: int
    """Of the others, those that are not older than this."""

    def __post_init__(self) -> None:
        if not 1 <= self.count_min <= self.count_max:
            raise ValueError(f"keep at least one snapshot, and {self.count_min} to {self.count_max} is no range")
        if self.age_ms_max < 0:
            raise ValueError(f"an age of {self.age_ms_max} ms is none")


def superfluous(furthest_first: Sequence[StoredSnapshot], retention: Retention, now_ms: int) -> list[str]:
    """Ids of the whole snapshots that need not be kept. A clock that was set back deletes nothing early."""
    return [
        snapshot.header.snapshot_id
        for place, snapshot in enumerate(furthest_first)
        if place >= retention.count_max
        or (place >= retention.count_min and now_ms - snapshot.header.taken_at_ms > retention.age_ms_max)
    ]


def needed_from(
    spans: Mapping[int, Sequence[Span]], snapshots: Sequence[StoredSnapshot], *, own: int, below_index: int
) -> dict[int, int]:
    """For each incarnation with spans, up to `own`, the first index that must be kept of it."""
    oldest: dict[int, int] = {}
    for snapshot in snapshots:
        number, index = snapshot.header.incarnation.number, snapshot.header.index
        oldest[number] = min(index, oldest.get(number, index))
    needed = {}
    for number, its_spans in spans.items():
        if not its_spans or number > own:
            continue
        if number in oldest:
            needed[number] = oldest[number] + 1 if number < own else min(below_index, oldest[number] + 1)
        elif number < own and own in oldest:
            needed[number] = its_spans[-1].next_index
        else:
            needed[number] = its_spans[0].first_index
    return needed


def trimmed(spans: Sequence[Span], needed_from_index: int, *, keep_last: bool) -> list[Span]:
    """What is left of `spans`, ascending, without what is below an index."""
    left = []
    for span in spans:
        first = max(span.first_index, min(needed_from_index, span.next_index))
        if first <= span.last_index or (keep_last and span is spans[-1]):
            left.append(Span(first, span.last_index, span.last_term))
    return left


def is_overtaken(header: SnapshotHeader, furthest: StoredSnapshot) -> bool:
    """Whether a snapshot that was begun and never finished is of no use any more."""
    return (header.incarnation.number, header.index) < furthest.age_key[:2]
