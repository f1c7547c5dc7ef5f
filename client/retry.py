"""When to try a call again.

Duty: the delays between the attempts of one call.
Invariant: a delay is never shorter than what the server asked for; without that, delays grow exponentially up to a
bound and are spread by jitter, so that clients that failed together do not come back together.
It must not know: what is tried, or where.
"""

import random

RETRY_DELAY_S_MIN = 0.05
RETRY_DELAY_S_MAX = 1.0
ATTEMPT_S_MIN = 0.2
ATTEMPT_S_MAX = 2.0


class Backoff:
    """Delays of one call, in seconds. Not for sharing between calls."""

    def __init__(self, source: random.Random) -> None:
        self._random = source
        self._round = 0

    def next_delay_s(self, retry_after_s: float | None) -> float:
        """Tell how long to wait before the next attempt.

        `retry_after_s` is what the server asked for, None when it did not. The jitter only ever adds to it.
        """
        ceiling = min(RETRY_DELAY_S_MAX, RETRY_DELAY_S_MIN * 2.0**self._round)
        self._round += 1
        jittered = ceiling * self._random.uniform(0.5, 1.0)
        if retry_after_s is None:
            return jittered
        return retry_after_s + jittered * 0.1


def attempt_s(timeout_s: float, remaining_s: float, endpoints: int) -> float:
    """Tell how long one attempt may take, in seconds.

    A node that hangs (stopped, or cut off without a word) would eat the whole call; so with several endpoints each
    gets a share. The repetition carries the same request id and is harmless.
    """
    if endpoints <= 1:
        return remaining_s
    share = max(ATTEMPT_S_MIN, min(ATTEMPT_S_MAX, timeout_s / endpoints))
    return min(remaining_s, share)
