"""How a process that cannot serve ends: with one line, and an exit code that says what kind of end it is."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from garbagetruck.cluster.node import lifecycle
from garbagetruck.cluster.node.config.loading import load_settings
from garbagetruck.cluster.node.local.layout import UpOptions, plan, prepare
from garbagetruck.cluster.raft.errors import FoundedTwice
from tests.unit.node.rig import turns


def test_settings_that_a_part_does_not_take_end_the_node_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As when another member's record does not go with them: no traceback tells an operator what to do."""

    def compose(*_: object) -> None:
        raise ValueError("raft members share an address")

    options = UpOptions(data_dir=tmp_path, nodes=1, base_port=7_100)
    cluster = plan(options, new_cluster_id="c1")
    prepare(cluster, options)
    loaded = load_settings(cluster.nodes[0].config, {})
    monkeypatch.setattr(lifecycle, "compose", compose)
    assert lifecycle.serve(loaded, bootstrap=True, environ={}) == lifecycle.EXIT_REFUSED
    told = capsys.readouterr()
    (last,) = (told.out + told.err).strip().splitlines()
    assert "Traceback" not in last
    assert "raft members share an address" in last


def test_a_founder_that_was_founded_again_ends_as_one_that_is_refused_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def end(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(lifecycle, "_end", end)
    with capture_logs() as lines, pytest.raises(SystemExit) as ended:
        lifecycle.die(FoundedTwice("c1", "n3", "n1"))
    assert ended.value.code == lifecycle.EXIT_REFUSED
    (last,) = lines
    assert last["event"] == "refused"
    assert "garbagetruck member remove n3" in last["reason"]
    assert "exc_info" not in last


@pytest.mark.parametrize("by", ["its record is gone", "a signal"])
async def test_a_removed_node_goes_on_for_raft_until(by: str) -> None:
    """Who leads may not have stored yet that it is without this node, and need its vote again."""
    stop, gone = asyncio.Event(), asyncio.Event()
    leaving = asyncio.create_task(lifecycle._take_leave(stop, gone))
    await turns()
    assert not leaving.done()
    (stop if by == "a signal" else gone).set()
    await leaving


async def test_a_removed_node_does_not_wait_for_ever_to_hear_that_its_record_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lifecycle, "TAKE_LEAVE_S_MAX", 0.01)
    await lifecycle._take_leave(asyncio.Event(), asyncio.Event())
