"""The archive's lag: how long the first entry that is not archived has waited."""

from garbagetruck.cluster.node.archiving.progress import SAMPLES_MAX, ArchiveProgress

S = 1_000_000_000


def test_the_lag_is_the_age_of_the_first_entry_that_is_not_archived() -> None:
    progress = ArchiveProgress()
    assert progress.lag_s(7 * S) == 0
    progress.applied(5, 10 * S)
    progress.applied(8, 12 * S)
    assert progress.lag_s(13 * S) == 3
    progress.archived(5)
    assert progress.lag_s(13 * S) == 1
    progress.archived(8)
    assert progress.lag_s(99 * S) == 0
    progress.applied(8, 100 * S)
    assert progress.lag_s(101 * S) == 0, "what is archived waits for nothing"


def test_a_long_outage_takes_bounded_memory_and_its_beginning_is_remembered() -> None:
    progress = ArchiveProgress()
    for number in range(1, 3 * SAMPLES_MAX):
        progress.applied(number, number * S)
    assert len(progress._waiting) == SAMPLES_MAX
    assert progress.lag_s(5_000 * S) == 4_999
    progress.archived(3 * SAMPLES_MAX - 2)
    assert 0 < progress.lag_s(5_000 * S) < 5_000 - 3 * SAMPLES_MAX + 2, "one entry more than that is not archived"
    progress.archived(3 * SAMPLES_MAX - 1)
    assert progress.lag_s(5_000 * S) == 0
