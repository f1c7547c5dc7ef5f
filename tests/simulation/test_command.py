"""The simulator's command: what it prints, and how it exits."""

from pathlib import Path

import pytest

from garbagetruck.chaos.simulator.__main__ import EXIT_PASSED, EXIT_UNDECIDED, EXIT_VIOLATED, main
from garbagetruck.chaos.simulator.faults import ClusterFaults
from garbagetruck.cluster.node.ticker import Ticker


def test_seeds_that_pass_exit_with_zero_and_leave_their_history(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history = tmp_path / "history.txt"
    assert main(["--seeds", "1", "--start", "3", "--history", str(history)]) == EXIT_PASSED
    assert "seed 3 passed" in capsys.readouterr().out
    assert "granted" in history.read_text()


def test_a_violation_names_its_seed_and_the_command_that_repeats_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Ticker, "plan", lambda self: None)
    assert main(["--seeds", "2", "--start", "5", "--faults", "kill"]) == EXIT_VIOLATED
    out = capsys.readouterr().out
    assert "seed 5 violated" in out
    assert "--seeds 1 --start 5 --history history.txt --faults kill" in out
    assert "seed 6" not in out, "it ends at the first violation"


def test_a_run_in_which_no_fault_bit_is_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClusterFaults, "schedule", lambda self, until_ms: None)
    assert main(["--seeds", "1", "--start", "5"]) == EXIT_UNDECIDED


def test_an_unknown_kind_of_fault_is_refused() -> None:
    with pytest.raises(ValueError, match=r"known are .*kill.*split"):
        main(["--seeds", "1", "--faults", "cosmic-rays"])
