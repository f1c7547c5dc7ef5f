"""Durations as people write them: `1500ms`, `30s`, `5m`, `2h`, `7d`.

Duty: the one parser and the one printer of durations, for the command line, the configuration and the environment.
Invariants: a duration is a whole, non-negative number of milliseconds; `parse_duration_ms(format_duration(n)) == n`.
Must not know: what a duration is for, nor its bounds: the caller checks those and names its own key or flag.
"""

import re
import reprlib

DURATION_MS_MAX = 2**53
"""What is longer is a slip of the keyboard, and would not survive a JSON reader."""

_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DIGITS_MAX = 15
_PATTERN = re.compile(r"([0-9]+)(?:\.([0-9]{1,9}))?(ms|s|m|h|d)", re.ASCII)


class DurationError(ValueError):
    """The text is not a duration; the message says what was read and what would have been understood."""


def parse_duration_ms(text: str) -> int:
    """Read one number with one unit, such as `30s` or `1.5h`, as milliseconds.

    Raises `DurationError` for anything else: no unit, a sign, a fraction of a millisecond, or more than 2**53 ms.
    """
    shown = reprlib.repr(text)
    match = _PATTERN.fullmatch(text.strip())
    if match is None:
        raise DurationError(f"{shown} is not a duration; write a number and a unit, as in 1500ms, 30s, 5m, 2h or 7d")
    whole, fraction, unit = match.groups()
    longest = f"write at most {DURATION_MS_MAX // _UNIT_MS['d']}d"
    if len(whole.lstrip("0")) > _DIGITS_MAX:
        raise DurationError(f"{shown} is longer than any duration here can be; {longest}")
    scale: int = 10 ** len(fraction or "")
    scaled_ms = int(whole[-_DIGITS_MAX:] + (fraction or "")) * _UNIT_MS[unit]
    if scaled_ms % scale:
        raise DurationError(f"{shown} is finer than a millisecond; round it to whole milliseconds")
    duration_ms = scaled_ms // scale
    if duration_ms > DURATION_MS_MAX:
        raise DurationError(f"{shown} is longer than any duration here can be; {longest}")
    return duration_ms


def format_duration(duration_ms: int) -> str:
    """Write a duration with the largest unit that keeps it whole: 90000 is `90s`, 120000 is `2m`, 0 is `0s`."""
    if duration_ms == 0:
        return "0s"
    unit, size_ms = next((unit, size) for unit, size in reversed(_UNIT_MS.items()) if duration_ms % size == 0)
    return f"{duration_ms // size_ms}{unit}"
