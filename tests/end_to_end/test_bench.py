"""`garbagetruck bench` on a real cluster of its own: the shape of what it prints, and that nothing is left of it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

COMMAND = (sys.executable, "-c", "from garbagetruck.cli.main import main; main()", "bench")
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


def processes_of(folder: Path) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(folder) in each for each in process.info["cmdline"] or [])
    ]


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Of a bench whose clusters live in this test's folder; afterwards none of their processes may be left."""
    yield {**os.environ, "TMPDIR": str(tmp_path)}
    left = processes_of(tmp_path)
    for process in left:
        process.kill()
    assert not left, f"processes were left: {left}"


@pytest.fixture
def measuring(environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A bench in the middle of its work."""
    command = [*COMMAND, "--scenario", "acquire", "--duration", "10m"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        try:
            assert any("measuring" in line for line in running.stderr), "it ended before it measured"
            yield running
        finally:
            running.kill()


def test_fifty_acquires_make_consistent_rows(environment: dict[str, str], tmp_path: Path) -> None:
    ended = subprocess.run(
        [*COMMAND, "--scenario", "acquire", "--operations", "50", "-o", "json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    rows = json.loads(ended.stdout)
    assert [list(row) for row in rows] == [FIELDS, FIELDS]
    assert [row["in_flight"] for row in rows] == [1, 50], "never more in flight than there are operations"
    for row in rows:
        assert (row["scenario"], row["target"]) == ("acquire", "self")
        assert (row["operations"], row["errors"]) == (50, 0)
        assert row["rate_per_s"] > 0
        assert 0 < row["p50_ms"] <= row["p99_ms"]
        assert row["client_cpu_s"] >= 0
        assert row["server_cpu_s"] >= 0
    elapsed_ms = 50 / rows[0]["rate_per_s"] * 1_000
    assert rows[0]["p50_ms"] <= elapsed_ms, "one after the other, none takes longer than all"
    assert "load average" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_bench_leaves_nothing_behind(measuring: subprocess.Popen[str], tmp_path: Path) -> None:
    measuring.send_signal(signal.SIGINT)
    assert measuring.wait(60) == 130
    assert list(tmp_path.iterdir()) == []


def test_the_processes_of_a_killed_bench_end_by_themselves(measuring: subprocess.Popen[str], tmp_path: Path) -> None:
    started = processes_of(tmp_path)
    assert len(started) == 4, "up, and three nodes"
    measuring.kill()
    _, alive = psutil.wait_procs(started, timeout=60)
    assert alive == []


def test_files_that_fall_due_at_once_are_all_cleaned_and_counted(environment: dict[str, str], tmp_path: Path) -> None:
    ended = subprocess.run(
        [*COMMAND, "--scenario", "cleanup", "--operations", "200", "-o", "json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    (row,) = json.loads(ended.stdout)
    assert (row["scenario"], row["in_flight"], row["operations"], row["errors"]) == ("cleanup", 1, 200, 0)
    assert row["cleaned_ms"] > 0
    assert row["probe_operations"] > 0
    assert not list(tmp_path.glob("garbagetruck-bench-*"))
