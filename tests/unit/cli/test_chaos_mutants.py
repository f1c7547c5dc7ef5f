"""The flags of `garbagetruck chaos mutants`: what there is, what is refused, and what each fate exits with."""

import json
from collections.abc import Callable, Sequence

import pytest
from typer.testing import CliRunner

from garbagetruck.chaos.mutants import run as running
from garbagetruck.chaos.mutants.mutant import Mutant
from garbagetruck.chaos.mutants.run import Judged
from garbagetruck.chaos.mutants.table import MUTANTS
from garbagetruck.chaos.mutants.trial import Fate, Trial
from garbagetruck.cli import chaos
from garbagetruck.cli.exits import Exit

FIRST, SECOND, *_ = MUTANTS


class FakeBench:
    """What mutants come to; nothing is run."""

    broken: str | None = None
    fates: Sequence[Fate] = ()

    def __init__(self, jobs: int) -> None:
        assert jobs >= 1

    async def control(self, mutants: Sequence[Mutant]) -> str | None:
        return self.broken

    async def judge(self, mutants: Sequence[Mutant], on_judged: Callable[[Judged], None]) -> list[Judged]:
        judged = [Judged(each, Trial(fate, "seen"), 1.0) for each, fate in zip(mutants, self.fates, strict=True)]
        for each in judged:
            on_judged(each)
        return judged


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> type[FakeBench]:
    monkeypatch.setattr(running, "Bench", FakeBench)
    monkeypatch.setattr(FakeBench, "broken", None)
    monkeypatch.setattr(FakeBench, "fates", ())
    return FakeBench


def run(*arguments: str) -> tuple[int, str]:
    ran = CliRunner().invoke(chaos.app, ["mutants", *arguments])
    return ran.exit_code, ran.stdout


def test_the_list_tells_of_every_mutant_what_it_is_and_who_must_notice() -> None:
    code, told = run("--list")
    assert code == 0
    for each in MUTANTS.values():
        for part in (f"{each.name}: {each.summary}", each.guard, each.catcher.told, *each.seams):
            assert part in told
    assert [each["mutant"] for each in json.loads(run("--list", "-o", "json")[1])] == [*MUTANTS]


def test_a_name_that_there_is_not_is_a_usage_error() -> None:
    assert run("no-such-mutant")[0] == Exit.USAGE


@pytest.mark.parametrize(
    ("fates", "code"),
    [
        ([Fate.CAUGHT, Fate.CAUGHT], Exit.DONE),
        ([Fate.CAUGHT, Fate.UNDECIDED], 3),
        ([Fate.SURVIVED, Fate.UNDECIDED], 1),
    ],
)
def test_the_worst_fate_decides_the_exit_code(bench: type[FakeBench], fates: list[Fate], code: int) -> None:
    bench.fates = fates
    assert run(FIRST, SECOND)[0] == code


def test_one_that_survives_is_named_with_the_command_that_repeats_it(bench: type[FakeBench]) -> None:
    bench.fates = [Fate.CAUGHT, Fate.SURVIVED]
    told = run(FIRST, SECOND)[1]
    assert "1 caught, 1 survived" in told
    assert f"SURVIVED {SECOND}" in told
    assert f"garbagetruck chaos mutants {SECOND}" in told


def test_without_a_control_that_passes_nothing_is_run_and_nothing_shown(bench: type[FakeBench]) -> None:
    bench.broken = "seed 1 is violated"
    code, told = run(FIRST)
    assert code == 3
    assert "seed 1 is violated" in told


def test_json_has_the_control_and_each_mutant(bench: type[FakeBench]) -> None:
    bench.fates = [Fate.CAUGHT]
    shown = json.loads(run(FIRST, "-o", "json")[1])
    assert shown["control"] == "passed"
    assert shown["mutants"][0]["mutant"] == FIRST
    assert shown["mutants"][0]["verdict"] == "caught"
