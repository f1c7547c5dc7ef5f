"""Which snapshots are kept, and what of the archive is needed for them."""

import pytest

from garbagetruck.storage.records import Incarnation, SnapshotHeader, Span, StoredSnapshot
from garbagetruck.storage.retention import Retention, needed_from, superfluous, trimmed


def stored(index: int, incarnation: int = 1, taken_at_ms: int = 0) -> StoredSnapshot:
    header = SnapshotHeader(
        snapshot_id=f"s{incarnation}-{index}",
        incarnation=Incarnation(incarnation, f"i{incarnation}"),
        node_id="n1",
        index=index,
        term=1,
        clock_ms=0,
        format=1,
        digest="d",
        taken_at_ms=taken_at_ms,
    )
    return StoredSnapshot(header, 1, 1)


@pytest.mark.parametrize(("count_min", "count_max", "age_ms_max"), [(0, 5, 1), (3, 2, 1), (1, 1, -1)])
def test_a_retention_that_keeps_nothing_or_contradicts_itself_is_refused(
    count_min: int, count_max: int, age_ms_max: int
) -> None:
    with pytest.raises(ValueError, match=r"snapshot|age"):
        Retention(count_min=count_min, count_max=count_max, age_ms_max=age_ms_max)


def test_the_furthest_are_kept_however_old() -> None:
    snapshots = [stored(index, taken_at_ms=0) for index in (9, 8, 7)]
    assert superfluous(snapshots, Retention(count_min=2, count_max=3, age_ms_max=10), now_ms=10**9) == ["s1-7"]


def test_the_young_are_kept_up_to_a_number() -> None:
    snapshots = [stored(index, taken_at_ms=100) for index in (9, 8, 7, 6)]
    assert superfluous(snapshots, Retention(count_min=1, count_max=3, age_ms_max=10), now_ms=110) == ["s1-6"]


def test_without_a_snapshot_all_of_the_archive_is_needed() -> None:
    spans = {1: [Span(1, 50, 1)], 2: [Span(1, 9, 1)]}
    assert needed_from(spans, [], own=2, below_index=9) == {1: 1, 2: 1}


def test_what_follows_the_oldest_snapshot_is_needed_in_each_incarnation() -> None:
    spans = {1: [Span(1, 50, 1)], 2: [Span(51, 90, 1)], 3: [Span(1, 5, 1)]}
    snapshots = [stored(80, 2), stored(60, 2), stored(40, 1)]
    assert needed_from(spans, snapshots, own=2, below_index=1_000) == {1: 41, 2: 61}, "never of a later incarnation"
    assert needed_from(spans, snapshots, own=2, below_index=55) == {1: 41, 2: 55}


def test_an_earlier_incarnation_without_snapshots_goes_once_this_one_has_one() -> None:
    spans = {1: [Span(1, 50, 1)], 2: [Span(51, 90, 1)]}
    assert needed_from(spans, [stored(60, 2)], own=2, below_index=1_000) == {1: 51, 2: 61}


def test_trimming_keeps_the_last_span_to_know_where_to_go_on() -> None:
    spans = [Span(1, 10, 1), Span(21, 30, 2)]
    assert trimmed(spans, 5, keep_last=True) == [Span(5, 10, 1), Span(21, 30, 2)]
    assert trimmed(spans, 11, keep_last=True) == [Span(21, 30, 2)]
    assert trimmed(spans, 99, keep_last=True) == [Span(31, 30, 2)]
    assert trimmed(spans, 99, keep_last=False) == []
