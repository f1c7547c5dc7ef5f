"""The limits that every handler's table may hold, whatever its kind: how much, how often, how long, how many times.

Duty: read and show them. What they mean is enforced by the executor.
Must not know: the handler's own options.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from garbagetruck.cluster.cleanup.rates import ATTEMPTS_MAX as RATE_ATTEMPTS_MAX
from garbagetruck.cluster.cleanup.rates import BURST_MAX, Rate
from garbagetruck.cluster.cleanup.settings import (
    ATTEMPT_TIMEOUT_MS_MAX,
    ATTEMPT_TIMEOUT_MS_MIN,
    ATTEMPTS_MAX,
    SLOTS_MAX,
)
from garbagetruck.cluster.node.config.values import Duration, InvalidValueError, Whole

LIMITS = ("slots", "rate", "burst", "attempt_timeout", "attempts")
"""Their keys."""

ATTEMPT_TIMEOUT = Duration(
    meaning="How long one attempt may take before it is cancelled and counted as failed.",
    minimum_ms=ATTEMPT_TIMEOUT_MS_MIN,
    maximum_ms=ATTEMPT_TIMEOUT_MS_MAX,
)
_SLOTS = Whole(meaning="", minimum=1, maximum=SLOTS_MAX)
_ATTEMPTS = Whole(meaning="", minimum=1, maximum=ATTEMPTS_MAX)
_BURST = Whole(meaning="", minimum=1, maximum=BURST_MAX)
_PERIODS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000}
_RATE = re.compile(r"([1-9][0-9]{0,6})/([smh])")


@dataclass(frozen=True, slots=True)
class HandlerLimits:
    """A handler's limits. None: it has none of its own."""

    slots_max: int | None
    attempt_timeout_ms: int | None
    attempts_max: int | None
    rate: Rate | None


def parse_limits(table: Mapping[str, object]) -> HandlerLimits:
    """Read them out of a handler's table. Raises `InvalidValueError`, with the key as its place."""
    part = "slots"
    try:
        slots_max = _SLOTS.parse(table[part]) if part in table else None
        part = "attempt_timeout"
        timeout_ms = ATTEMPT_TIMEOUT.parse(table[part]) if part in table else None
        part = "attempts"
        attempts_max = _ATTEMPTS.parse(table[part]) if part in table else None
        part = "burst"
        burst = _parse_burst(table) if part in table else None
        part = "rate"
        rate = _parse_rate(table[part], burst) if part in table else None
    except InvalidValueError as error:
        raise InvalidValueError(error.problem, error.remedy, at=f".{part}") from error
    return HandlerLimits(slots_max, timeout_ms, attempts_max, rate)


def show_limits(limits: HandlerLimits) -> list[str]:
    """As a file would hold them."""
    shown: list[str] = []
    if limits.slots_max is not None:
        shown.append(f"slots = {limits.slots_max}")
    if limits.rate is not None:
        unit = next(unit for unit, period_ms in _PERIODS_MS.items() if period_ms == limits.rate.period_ms)
        shown += [f"rate = {json.dumps(f'{limits.rate.attempts}/{unit}')}", f"burst = {limits.rate.burst}"]
    if limits.attempt_timeout_ms is not None:
        shown.append(f"attempt_timeout = {ATTEMPT_TIMEOUT.show(limits.attempt_timeout_ms)}")
    if limits.attempts_max is not None:
        shown.append(f"attempts = {limits.attempts_max}")
    return shown


def _parse_burst(table: Mapping[str, object]) -> int:
    if "rate" not in table:
        raise InvalidValueError("there is no rate that it could belong to", "give `rate`, too, or leave it out")
    return _BURST.parse(table["burst"])


def _parse_rate(raw: object, burst: int | None) -> Rate:
    match = _RATE.fullmatch(raw) if isinstance(raw, str) else None
    if match is None or int(match[1]) > RATE_ATTEMPTS_MAX:
        remedy = f'write a number up to {RATE_ATTEMPTS_MAX} for each second, minute or hour, as in "20/s" or "100/h"'
        raise InvalidValueError(f"{raw!r} is not a rate", remedy)
    attempts, period_ms = int(match[1]), _PERIODS_MS[match[2]]
    return Rate(attempts, period_ms, burst or min(BURST_MAX, max(1, attempts * 1_000 // period_ms)))
