"""The limits that every handler's table may hold."""

from pathlib import Path

import pytest

from garbagetruck.cluster.cleanup.rates import Rate
from garbagetruck.cluster.node.config.limits import HandlerLimits, parse_limits, show_limits
from garbagetruck.cluster.node.config.tables import Handlers
from garbagetruck.cluster.node.config.values import InvalidValueError
from tests.unit.node.test_config import MINIMAL, load, problems

ALL = 'slots = 4\nrate = "30/m"\nburst = 7\nattempt_timeout = "10s"\nattempts = 3\n'


def test_all_limits_are_read_and_none_of_them_reaches_the_handler(tmp_path: Path) -> None:
    settings = load(tmp_path, MINIMAL + f'[handlers.file]\n{ALL}roots = ["/srv"]\n').settings
    handler = settings.handlers["file"]
    assert (handler.slots_max, handler.attempt_timeout_ms, handler.attempts_max) == (4, 10_000, 3)
    assert handler.rate == Rate(30, 60_000, 7)
    assert handler.revealed() == {"roots": ["/srv"]}


def test_what_is_not_given_is_left_to_others() -> None:
    assert parse_limits({}) == HandlerLimits(None, None, None, None)
    assert show_limits(parse_limits({})) == []


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        ("20/s", Rate(20, 1_000, 20)),
        ("30/m", Rate(30, 60_000, 1)),
        ("600/m", Rate(600, 60_000, 10)),
        ("100/h", Rate(100, 3_600_000, 1)),
        ("1000000/s", Rate(1_000_000, 1_000, 100_000)),
    ],
)
def test_a_burst_is_what_the_rate_gives_for_a_second_unless_it_is_given(rate: str, expected: Rate) -> None:
    limits = parse_limits({"rate": rate})
    assert limits.rate == expected
    assert show_limits(limits) == [f'rate = "{rate}"', f"burst = {expected.burst}"]


def test_what_is_shown_is_read_again(tmp_path: Path) -> None:
    handlers = load(tmp_path, MINIMAL + f"[handlers.file]\n{ALL}").settings.handlers
    shown = Handlers(meaning="").show(handlers)
    assert shown == (
        '{ file = { kind = "file", slots = 4, rate = "30/m", burst = 7, attempt_timeout = "10s", attempts = 3 } }'
    )


@pytest.mark.parametrize("rate", ["0/s", "20", 20, "20/d", "-1/s", "1.5/s", "20 /s", "10000000/s", "", None, "٣/s"])
def test_what_is_no_rate_is_refused_with_an_example(rate: object) -> None:
    with pytest.raises(InvalidValueError, match="is not a rate") as caught:
        parse_limits({"rate": rate})
    assert '"20/s"' in caught.value.remedy
    assert caught.value.at == ".rate"


@pytest.mark.parametrize(
    ("line", "key", "told"),
    [
        ("slots = 0", "slots", ""),
        ("attempts = 0", "attempts", ""),
        ("attempts = 1001", "attempts", ""),
        ('attempt_timeout = "1h"', "attempt_timeout", ""),
        ("burst = 5", "burst", "give `rate`, too"),
        ('rate = "1/s"\nburst = 0', "burst", ""),
        ('rate = "fast"', "rate", "is not a rate"),
    ],
)
def test_a_limit_out_of_bounds_is_told_by_its_key(tmp_path: Path, line: str, key: str, told: str) -> None:
    found = problems(tmp_path, MINIMAL + f"[handlers.file]\n{line}\n")
    assert told in found[f"handlers.file.{key}"]
