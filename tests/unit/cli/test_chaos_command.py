"""The flags of `garbagetruck chaos`: what there is, what is refused, and what each verdict exits with."""

import json
import re
import tempfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from garbagetruck.chaos.report import Report, nothing_shown
from garbagetruck.chaos.scenarios import SCENARIOS
from garbagetruck.chaos.simulator.result import Verdict
from garbagetruck.cli import chaos
from garbagetruck.cli.exits import Exit
from tests.architecture.checkout import ROOT

DOCUMENTATION = ROOT / "docs/chaos.md"


def report(verdict: Verdict) -> Report:
    return Report(
        scenario="kill-all",
        seed=7,
        verdict=verdict,
        violations=("I1: gone",) if verdict is Verdict.VIOLATED else (),
        doubts=("it did not bite",) if verdict is Verdict.UNDECIDED else (),
        repeat="garbagetruck chaos run kill-all --seed 7",
        seconds=1.0,
        counts={"acquired": 3},
        timeline=("0.1 s  n1 leads",),
    )


@pytest.fixture
def verdicts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Verdict]:
    """What the next runs come to; nothing is run."""
    coming: list[Verdict] = []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(chaos, "_run", lambda *_: report(coming.pop(0)))
    return coming


def run(*arguments: str) -> tuple[int, str]:
    ran = CliRunner().invoke(chaos.app, arguments)
    return ran.exit_code, ran.output


def test_the_list_tells_of_every_scenario() -> None:
    code, told = run("list")
    assert code == 0
    for each in SCENARIOS.values():
        assert each.name in told
        assert each.summary in told
    assert [each["scenario"] for each in json.loads(run("list", "-o", "json")[1])] == list(SCENARIOS)


def test_the_documentation_names_every_danger_and_who_is_about_it() -> None:
    rows = [line.split("|") for line in DOCUMENTATION.read_text(encoding="utf-8").splitlines()]
    told = {
        int(row[1]): set(re.findall(r"`([a-z-]+)`", row[3])) for row in rows if row[1:] and row[1].strip().isdigit()
    }
    assert list(told) == list(range(1, 27))
    for each in SCENARIOS.values():
        assert {number for number, names in told.items() if each.name in names} == set(each.covers), each.name


@pytest.mark.parametrize(
    ("coming", "code"),
    [
        ([Verdict.PASSED, Verdict.PASSED], Exit.DONE),
        ([Verdict.UNDECIDED, Verdict.PASSED], 3),
        ([Verdict.VIOLATED, Verdict.UNDECIDED], 1),
    ],
)
def test_the_worst_verdict_decides_the_exit_code(
    verdicts: list[Verdict], coming: list[Verdict], code: int, tmp_path: Path
) -> None:
    verdicts.extend(coming)
    assert run("run", "kill-all", "kill-leader")[0] == code
    assert verdicts == [], "every scenario is run, whatever became of the first"
    assert bool(list(tmp_path.iterdir())) == (code != 0), "what did not pass can be looked at"


def test_a_violation_is_told_with_the_command_that_repeats_it(verdicts: list[Verdict]) -> None:
    verdicts.append(Verdict.VIOLATED)
    _, told = run("run", "kill-all", "--seed", "7")
    assert "VIOLATION I1: gone" in told
    assert "repeat it: garbagetruck chaos run kill-all --seed 7" in told


def test_the_repeating_command_has_the_flags_that_were_given() -> None:
    said = {"--duration": "5s", "--outage": None, "--times": 2, "--clients": None, "--nodes": None, "--size": None}
    assert chaos._repeat("soak", 3, said) == "garbagetruck chaos run soak --seed 3 --duration 5s --times 2"


def test_json_is_one_array_of_reports(verdicts: list[Verdict], capsys: pytest.CaptureFixture[str]) -> None:
    verdicts.append(Verdict.PASSED)
    ran = CliRunner().invoke(chaos.app, ["run", "kill-all", "-o", "json"])
    (shown,) = json.loads(ran.stdout)
    assert (shown["scenario"], shown["verdict"], shown["acquired"]) == ("kill-all", "passed", 3)


def test_what_is_not_known_is_refused_before_anything_runs(verdicts: list[Verdict]) -> None:
    assert run("run", "earthquake")[0] == Exit.USAGE
    assert run("run", "soak", "--duration", "long")[0] == Exit.USAGE
    assert run("run")[0] == Exit.USAGE


def test_flags_stand_in_for_a_scenarios_own_numbers() -> None:
    said = {"--duration": "5s", "--outage": None, "--times": 2, "--clients": None, "--nodes": None, "--size": None}
    plan = chaos._plan(SCENARIOS["cut-node"], 3, said)
    assert (plan.duration_s, plan.outage_s, plan.times, plan.clients) == (5.0, 30.0, 2, chaos.CLIENTS)
    mass = SCENARIOS["mass-expiry-leader-dies"]
    assert chaos._plan(mass, 3, said).size == 100_000
    assert chaos._plan(mass, 3, {**said, "--size": 1_000_000}).size == 1_000_000


def test_a_cluster_that_did_not_come_up_shows_nothing() -> None:
    shown = nothing_shown("kill-all", 1, "no ports", "again")
    assert shown.verdict is Verdict.UNDECIDED
    assert any("no ports" in line for line in shown.lines())


def test_simulated_seeds_are_counted_by_verdict() -> None:
    code, told = run("simulate", "--seeds", "2", "--start", "3", "--world", "raft")
    assert code in {0, 3}
    assert "raft simulator, seeds 3 to 4:" in told
