"""The cluster clock: available time, never faster than real time."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from garbagetruck.cluster.node.clock import NS_PER_MS, ClusterClock, NotLeadingError

STEP_MS = 250


class Monotonic:
    def __init__(self) -> None:
        self.now_ns = 5_000_000_000

    def __call__(self) -> int:
        return self.now_ns

    def advance_ms(self, ms: float) -> None:
        self.now_ns += int(ms * NS_PER_MS)


def make(drift_ppm: int = 0) -> tuple[ClusterClock, Monotonic]:
    monotonic = Monotonic()
    return ClusterClock(monotonic_ns=monotonic, step_ms=STEP_MS, drift_ppm=drift_ppm), monotonic


def test_it_goes_on_from_the_replicated_clock() -> None:
    clock, monotonic = make()
    clock.lead(7_000)
    monotonic.advance_ms(40)
    assert clock.now_ms() == 7_040


def test_without_credit_it_stands_after_one_step() -> None:
    clock, monotonic = make()
    clock.lead(0)
    monotonic.advance_ms(STEP_MS - 1)
    assert not clock.standing()
    monotonic.advance_ms(10_000)
    assert clock.now_ms() == STEP_MS
    assert clock.standing()


def test_i7_a_pause_of_thirty_seconds_counts_as_at_most_one_step() -> None:
    clock, monotonic = make()
    clock.lead(0)
    sent_ns = monotonic()
    monotonic.advance_ms(30_000)
    assert clock.credit(sent_ns)
    assert clock.now_ms() == STEP_MS


def test_a_probe_sent_before_the_last_credit_grants_nothing() -> None:
    clock, monotonic = make()
    clock.lead(0)
    early_ns = monotonic()
    monotonic.advance_ms(100)
    assert clock.credit(monotonic())
    monotonic.advance_ms(10_000)
    assert not clock.credit(early_ns)
    assert clock.now_ms() == 100 + STEP_MS


def test_credited_in_time_it_follows_real_time_less_the_drift_assumed() -> None:
    clock, monotonic = make(drift_ppm=500)
    clock.lead(0)
    for _ in range(100):
        sent_ns = monotonic()
        monotonic.advance_ms(100)
        clock.credit(sent_ns)
    assert clock.now_ms() == 9_995


def test_a_clock_that_does_not_lead_raises() -> None:
    clock, monotonic = make()
    for read in (clock.now_ms, clock.standing, lambda: clock.credit(monotonic())):
        with pytest.raises(NotLeadingError):
            read()
    clock.lead(0)
    clock.stop()
    clock.stop()
    with pytest.raises(NotLeadingError):
        clock.now_ms()


def test_it_leads_again_from_where_the_cluster_is() -> None:
    clock, monotonic = make()
    clock.lead(0)
    monotonic.advance_ms(200)
    clock.stop()
    monotonic.advance_ms(60_000)
    clock.lead(150)
    assert clock.now_ms() == 150


steps = st.lists(
    st.one_of(
        st.tuples(st.just("advance"), st.integers(0, 40_000_000_000)),
        st.tuples(st.just("probe"), st.just(0)),
        st.tuples(st.just("echo"), st.integers(0, 5)),
    ),
    max_size=60,
)


@given(steps, st.integers(0, 1_000), st.floats(-1.0, 1.0))
def test_i7_cluster_time_never_runs_faster_than_real_time(
    script: list[tuple[str, int]], drift_ppm: int, oscillator: float
) -> None:
    """The oscillator is off by up to the drift assumed, either way; each probe may come back late or never."""
    clock, monotonic = make(drift_ppm)
    rate_ppm = 1_000_000 + int(oscillator * drift_ppm)
    real_ns = 0
    clock.lead(1_000)
    probes: list[int] = []
    reads: list[tuple[int, int]] = []
    for what, value in script:
        if what == "advance":
            real_ns += value
            monotonic.now_ns += value * rate_ppm // 1_000_000
        elif what == "probe":
            probes.append(monotonic())
        elif probes:
            clock.credit(probes[value % len(probes)])
        reads.append((real_ns, clock.now_ms()))
    for earlier, later in itertools.pairwise(reads):
        assert later[1] >= earlier[1], "it never goes back"
    for index, (at_ns, clock_ms) in enumerate(reads):
        for before_ns, before_ms in reads[:index]:
            assert (clock_ms - before_ms) * NS_PER_MS < (at_ns - before_ns) + NS_PER_MS


@given(st.lists(st.tuples(st.integers(0, 3_000), st.booleans()), max_size=50))
def test_i7_it_advances_by_at_most_one_step_between_credits(script: list[tuple[int, bool]]) -> None:
    clock, monotonic = make()
    clock.lead(0)
    credited_ms = 0
    for advance_ms, echo in script:
        sent_ns = monotonic()
        monotonic.advance_ms(advance_ms)
        assert clock.now_ms() <= credited_ms + STEP_MS
        if echo:
            clock.credit(sent_ns)
            credited_ms = clock.now_ms()
