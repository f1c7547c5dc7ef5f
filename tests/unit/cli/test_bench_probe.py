"""What the bench counts beside a load: another client's calls, and what processes and folders tell."""

import asyncio
import os
from pathlib import Path
from typing import cast

import pytest

from garbagetruck.cli.bench.probe import Probe, while_running
from garbagetruck.cli.bench.resident import resident, snapshot_names
from garbagetruck.cli.bench.subject import Subject


def probe_of(*calls: tuple[int, int]) -> Probe:
    """Calls as (sent, took)."""
    return Probe(cast("Subject", None), calls=list(calls))


def test_a_call_counts_within_a_span_that_it_touches_and_otherwise_without() -> None:
    probe = probe_of((0, 9), (5, 10), (20, 5), (26, 100), (31, 1))
    spans = [(10, 12), (24, 30)]
    assert probe.within(spans).latencies_ns == [10, 5, 100]
    assert probe.without(spans).latencies_ns == [9, 1]
    assert probe.without([]).latencies_ns == [9, 10, 5, 100, 1]


def test_a_failure_counts_where_it_was_sent() -> None:
    probe = Probe(cast("Subject", None), failures=[(11, "UNAVAILABLE"), (40, "UNAVAILABLE")])
    assert (probe.within([(10, 12)]).errors, probe.without([(10, 12)]).errors) == (1, 1)
    assert probe.between(0, 20).errors == 1


async def test_work_ends_with_its_block_and_what_it_raised_is_raised() -> None:
    ended = asyncio.Event()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with while_running(forever()):
        await asyncio.sleep(0)
    assert ended.is_set()

    async def broken() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        async with while_running(broken()):
            await asyncio.sleep(0)


def test_a_process_tells_what_it_holds_and_one_that_is_gone_nothing() -> None:
    own = resident(os.getpid())
    assert own is not None
    assert 1 < own.now_mib <= own.peak_mib
    assert resident(2**30) is None


def test_a_folder_without_snapshots_has_no_names(tmp_path: Path) -> None:
    assert snapshot_names(tmp_path) == set()
    folder = tmp_path / "raft" / "snapshots"
    folder.mkdir(parents=True)
    (folder / "1.snap.tmp").touch()
    assert snapshot_names(tmp_path) == {"1.snap.tmp"}
