"""What becomes of samples: percentiles, rows and the table."""

import os
import random

import pytest

from garbagetruck.cli.bench.figures import NS_PER_MS, NS_PER_S, Measurement, percentile, row
from garbagetruck.cli.bench.processor import processor_s
from garbagetruck.cli.bench.table import table

FIELDS = [
    "scenario",
    "target",
    "in_flight",
    "operations",
    "rate_per_s",
    "p50_ms",
    "p99_ms",
    "client_cpu_s",
    "server_cpu_s",
    "errors",
]


@pytest.mark.parametrize(
    ("samples", "share", "expected"),
    [
        ([7], 0.5, 7),
        ([7], 0.99, 7),
        ([1, 2], 0.5, 1),
        ([3, 1, 2], 0.5, 2),
        (list(range(1, 101)), 0.99, 99),
        (list(range(1, 101)), 1.0, 100),
        (list(range(1, 1_001)), 0.99, 990),
    ],
)
def test_a_percentile_is_the_sample_of_the_nearest_rank(samples: list[int], share: float, expected: int) -> None:
    assert percentile(samples, share) == expected


def test_a_percentile_is_always_a_sample_that_enough_others_do_not_exceed(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(200):
        samples = [chance.randrange(50) for _ in range(chance.randrange(1, 60))]
        share = chance.choice([0.5, 0.9, 0.99, 1.0])
        found = percentile(samples, share)
        assert found in samples
        assert sum(each <= found for each in samples) >= share * len(samples)
        assert sum(each < found for each in samples) < share * len(samples)


def test_nothing_measured_is_no_figure_rather_than_zero() -> None:
    assert percentile([], 0.5) is None
    fields = row("acquire", 1, Measurement()).fields()
    assert [fields[name] for name in ("rate_per_s", "p50_ms", "p99_ms", "server_cpu_s")] == [None] * 4
    assert fields["operations"] == 0


@pytest.mark.parametrize("share", [0, -0.5, 1.01])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        percentile([1], share)


def test_a_row_has_the_fields_that_scripts_rely_on_in_their_order() -> None:
    measured = Measurement(
        latencies_ns=[2 * NS_PER_MS, 4 * NS_PER_MS], elapsed_ns=NS_PER_S, client_cpu_s=0.123, server_cpu_s=1.0
    )
    fields = row("renew", 64, measured).fields()
    assert list(fields) == FIELDS
    assert list(fields.values()) == ["renew", "self", 64, 2, 2.0, 2.0, 4.0, 0.12, 1.0, 0]


def test_calls_that_do_many_operations_count_them_in_the_rate_and_not_in_the_latencies() -> None:
    measured = Measurement(latencies_ns=[NS_PER_MS] * 10, elapsed_ns=NS_PER_S // 2)
    fields = row("renew-batch", 1, measured, units_per_call=100).fields()
    assert (fields["operations"], fields["rate_per_s"], fields["p50_ms"]) == (1_000, 2_000.0, 1.0)


def test_failures_are_counted_and_are_not_among_the_samples() -> None:
    measured = Measurement(latencies_ns=[NS_PER_MS], elapsed_ns=NS_PER_S)
    measured.count_failure("UNAVAILABLE")
    measured.count_error("ITEM_REFUSED", 3)
    assert (measured.errors, measured.calls) == (4, 2)
    assert measured.errors_by_kind == {"UNAVAILABLE": 1, "ITEM_REFUSED": 3}
    fields = row("acquire", 1, measured).fields()
    assert (fields["operations"], fields["errors"]) == (1, 4)


def test_a_scenarios_own_figures_come_after_those_of_all() -> None:
    measured = Measurement(latencies_ns=[NS_PER_MS])
    fields = row("mass-expiry", 1, measured).with_operations(10_000, 2 * NS_PER_S, {"ended_ms": 2_000.0}).fields()
    assert list(fields) == [*FIELDS, "ended_ms"]
    assert (fields["operations"], fields["rate_per_s"]) == (10_000, 5_000.0)


def test_a_table_is_markdown_with_one_more_column_for_what_only_some_rows_have() -> None:
    lines = table([{"a": "x", "b": "y", "n": 1_234}, {"a": "z", "b": "y", "n": None, "own": [1.5, 2]}]).splitlines()
    assert lines == [
        "| a | b |     n | more      |",
        "| - | - | ----: | --------- |",
        "| x | y | 1,234 |           |",
        "| z | y |     - | own 1.5 2 |",
    ]


def test_a_table_without_rows_is_nothing() -> None:
    assert table([]) == ""


def test_processor_time_is_that_of_the_processes_that_are_there() -> None:
    own = processor_s([os.getpid()])
    assert own is not None
    times = os.times()
    assert own == pytest.approx(times.user + times.system, abs=0.1)
    assert processor_s([2**22 + 1]) == 0.0
