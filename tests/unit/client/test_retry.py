"""Delays between attempts."""

import random

from garbagetruck.client import retry


def test_delays_grow_to_their_bound_and_are_spread() -> None:
    backoff = retry.Backoff(random.Random(3))
    delays = [backoff.next_delay_s(None) for _ in range(50)]
    assert retry.RETRY_DELAY_S_MIN / 2 <= delays[0] <= retry.RETRY_DELAY_S_MIN
    assert all(delay <= retry.RETRY_DELAY_S_MAX for delay in delays)
    assert min(delays[10:]) >= retry.RETRY_DELAY_S_MAX / 2
    assert len(set(delays[10:])) > 30


def test_a_delay_is_never_shorter_than_the_server_asked_for() -> None:
    backoff = retry.Backoff(random.Random(3))
    assert all(2.0 <= backoff.next_delay_s(2.0) <= 2.2 for _ in range(20))


def test_a_single_endpoint_gets_all_the_time() -> None:
    assert retry.attempt_s(5.0, 4.0, 1) == 4.0


def test_several_endpoints_share_the_time_within_bounds() -> None:
    assert retry.attempt_s(4.5, 4.5, 3) == 1.5
    assert retry.attempt_s(60.0, 60.0, 3) == retry.ATTEMPT_S_MAX
    assert retry.attempt_s(0.3, 0.3, 3) == retry.ATTEMPT_S_MIN
    assert retry.attempt_s(4.5, 0.1, 3) == 0.1
