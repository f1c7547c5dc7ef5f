"""What a span of acquires took, and whether it is more than noise."""

from garbagetruck.chaos.checkers.latency import NOISE_MS, SAMPLES_MIN, Latency, latency_of
from garbagetruck.chaos.history import NS_PER_MS, Outcome, Verb
from tests.unit.chaos.telling import Story


def acquires(story: Story, from_ms: int, took_ms: int, count: int = 100) -> None:
    for number in range(count):
        story.attempt(Verb.ACQUIRE, from_ms + number, from_ms + number + took_ms, lease=f"l{from_ms}-{number}")


def span(story: Story, from_ms: int, to_ms: int) -> Latency:
    return latency_of(story.history, from_ms * NS_PER_MS, to_ms * NS_PER_MS)


def test_quantiles_are_of_the_acquires_of_the_span_and_of_nothing_else() -> None:
    story = Story()
    acquires(story, 0, 400)
    acquires(story, 1_000, 10, 98)
    acquires(story, 1_200, 70, 2)
    story.attempt(Verb.RENEW, 1_000, 1_900)
    story.attempt(Verb.ACQUIRE, 1_000, 1_900, Outcome.REFUSED)
    story.attempt(Verb.ACQUIRE, 1_990, 2_100)
    found = span(story, 1_000, 2_000)
    assert (found.samples, found.failed, found.p50_ms, found.p99_ms) == (100, 0, 10.0, 70.0)


def test_what_waits_for_a_slow_postgresql_is_no_noise() -> None:
    story = Story()
    acquires(story, 0, 5)
    acquires(story, 1_000, 505)
    assert not span(story, 1_000, 2_000).within_noise_of(span(story, 0, 900))
    assert span(story, 0, 900).within_noise_of(span(story, 0, 900))


def test_a_few_that_wait_are_found_by_the_second_quantile() -> None:
    story = Story()
    acquires(story, 0, 5)
    acquires(story, 1_000, 5, 95)
    acquires(story, 1_000, 5 + 2 * round(NOISE_MS[99]), 5)
    assert not span(story, 1_000, 2_000).within_noise_of(span(story, 0, 900))


def test_an_acquire_that_failed_counts_with_the_time_that_it_took() -> None:
    story = Story()
    acquires(story, 0, 5)
    acquires(story, 1_000, 5, 90)
    for number in range(10):
        story.attempt(Verb.ACQUIRE, 1_000 + number, 3_000 + number, Outcome.UNKNOWN)
    found = span(story, 1_000, 4_000)
    assert found.failed == 10
    assert not found.within_noise_of(span(story, 0, 900))


def test_a_machine_that_is_busy_by_itself_is_not_calm() -> None:
    story = Story()
    acquires(story, 0, 5)
    acquires(story, 1_000, 1_500)
    acquires(story, 4_000, 5)
    story.attempt(Verb.ACQUIRE, 4_000, 4_900, Outcome.UNKNOWN)
    acquires(story, 6_000, 5, SAMPLES_MIN - 1)
    assert span(story, 0, 900).calm
    assert not any(span(story, begins, begins + 1_900).calm for begins in (1_000, 4_000, 6_000))


def test_too_few_show_nothing() -> None:
    story = Story()
    acquires(story, 0, 5, SAMPLES_MIN - 1)
    acquires(story, 1_000, 5)
    assert not span(story, 1_000, 2_000).within_noise_of(span(story, 0, 900))
    assert not span(story, 3_000, 4_000).within_noise_of(span(story, 1_000, 2_000))
