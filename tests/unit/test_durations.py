"""Durations are read and written one way only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from garbagetruck.durations import DURATION_MS_MAX, DurationError, format_duration, parse_duration_ms


@pytest.mark.parametrize(
    ("text", "duration_ms"),
    [
        ("1500ms", 1_500),
        ("30s", 30_000),
        ("5m", 300_000),
        ("2h", 7_200_000),
        ("7d", 604_800_000),
        ("0s", 0),
        ("1.5s", 1_500),
        (" 2s ", 2_000),
    ],
)
def test_a_number_and_a_unit_are_a_duration(text: str, duration_ms: int) -> None:
    assert parse_duration_ms(text) == duration_ms


@pytest.mark.parametrize(
    "text", ["", "30", "-1s", "+1s", "1 s", "s", "1e3s", "1s30ms", "0.5ms", "1w", "1S", "٣s", "nan", "1.s", "1_000s"]
)
def test_anything_else_is_refused_with_what_would_be_understood(text: str) -> None:
    with pytest.raises(DurationError, match=r"duration|millisecond"):
        parse_duration_ms(text)


@pytest.mark.parametrize("text", ["999999999999999d", f"{10**20}s", "9" * 5_000 + "ms", "104249992d"])
def test_an_absurd_duration_is_refused_with_the_longest(text: str) -> None:
    with pytest.raises(DurationError, match="longer than any duration here can be; write at most 104249991d") as told:
        parse_duration_ms(text)
    assert len(str(told.value)) < 200
    assert parse_duration_ms("0" * 5_000 + "104249991d") == 104_249_991 * 86_400_000


@given(st.integers(min_value=0, max_value=min(DURATION_MS_MAX, 10**15 - 1)))
def test_what_is_written_is_read_back(duration_ms: int) -> None:
    assert parse_duration_ms(format_duration(duration_ms)) == duration_ms
