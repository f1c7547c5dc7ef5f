"""The settings of the executor, which runs on the leader."""

from dataclasses import dataclass, replace
from typing import Annotated

from garbagetruck.cluster.cleanup.settings import SLOTS_MAX, BreakerSettings
from garbagetruck.cluster.node.config.limits import ATTEMPT_TIMEOUT
from garbagetruck.cluster.node.config.values import Duration, Share, Whole

_BREAKER = BreakerSettings()
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanupSection:
    """The executor, which runs on the leader."""

    slots: Annotated[
        int,
        Whole(
            meaning="Cleanups that run at once. A claim is only proposed for a free slot. A handler's table may set its"
            " own part as `slots`; handlers that do not share equally.",
            unit="cleanups",
            minimum=1,
            maximum=SLOTS_MAX,
        ),
    ] = 64
    attempt_timeout_ms: Annotated[
        int,
        replace(ATTEMPT_TIMEOUT, meaning=f"{ATTEMPT_TIMEOUT.meaning} A handler's table may set its own."),
    ] = 30_000
    breaker_failures: Annotated[
        int,
        Whole(
            meaning="A handler's breaker opens when at least so many of its attempts failed within the window; 0: never."
            " While it is open, none of its cleanups is claimed, but one after each pause, to try.",
            unit="attempts",
            minimum=0,
            maximum=1_000,
        ),
    ] = _BREAKER.failures_min
    breaker_share: Annotated[
        float,
        Share(meaning="...and when these are more than this share of those that ended within the window."),
    ] = _BREAKER.share
    breaker_window_ms: Annotated[
        int, Duration(meaning="How far back attempts count.", minimum_ms=1_000, maximum_ms=_DAY_MS)
    ] = _BREAKER.window_ms
    breaker_pause_ms: Annotated[
        int,
        Duration(
            meaning="How long an open breaker waits before its first trial, in cluster time. The pause doubles with each"
            " trial that fails.",
            minimum_ms=100,
            maximum_ms=_DAY_MS,
        ),
    ] = _BREAKER.pause_ms
    breaker_pause_ms_max: Annotated[
        int, Duration(meaning="The longest pause between two trials.", minimum_ms=100, maximum_ms=_DAY_MS)
    ] = _BREAKER.pause_ms_max

    @property
    def breaker(self) -> BreakerSettings:
        return BreakerSettings(
            failures_min=self.breaker_failures,
            share=self.breaker_share,
            window_ms=self.breaker_window_ms,
            pause_ms=self.breaker_pause_ms,
            pause_ms_max=self.breaker_pause_ms_max,
        )
