"""The table of mutants is whole, what it names is there, and no verdict is given for the wrong reason."""

import ast
import re
from pathlib import Path

import pytest

from garbagetruck.chaos.mutants import trial
from garbagetruck.chaos.mutants.mutant import CLUSTER, BySimulator, ByTests, Mutant, by_test, in_cluster, mutant
from garbagetruck.chaos.mutants.patch import Patch, patching
from garbagetruck.chaos.mutants.run import judge_tests
from garbagetruck.chaos.mutants.table import MUTANTS
from garbagetruck.chaos.mutants.trial import Fate, control, simulated_trial
from garbagetruck.chaos.simulator.result import Result, Verdict

ROOT = Path(__file__).parents[3]
HAZARD_ROW = re.compile(r"^\| (\d+) \|", re.MULTILINE)
MUTANTS_MIN = 30


class Guarded:
    """Something with a guard."""

    guard = "on"


def functions_of(test: str) -> set[str]:
    """The node ids in a file, without the file."""
    tree = ast.parse((ROOT / test).read_text(encoding="utf-8"))
    found = set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            found.add(node.name)
            found |= {f"{node.name}::{each.name}" for each in node.body if hasattr(each, "name")}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
    return found


class TestTheTable:
    def test_there_are_at_least_thirty(self) -> None:
        assert len(MUTANTS) >= MUTANTS_MIN

    def test_every_hazard_of_the_documentation_has_a_guard_that_is_switched_off(self) -> None:
        hazards = set(HAZARD_ROW.findall((ROOT / "docs/consensus.md").read_text(encoding="utf-8")))
        guarded = {each for one in MUTANTS.values() for each in re.findall(r"hazard (\d+)", one.guard)}
        assert hazards, "the table of hazards was not found"
        assert hazards - guarded == set()

    @pytest.mark.parametrize("each", MUTANTS.values(), ids=lambda each: each.name)
    def test_a_mutant_is_applied_somewhere_and_undone(self, each: Mutant) -> None:
        with patching() as first, patching() as second:
            each.plant(first)
            planted = [vars(target)[name] for target, name, _ in first._former]
            each.plant(second)
            assert second.seams == first.seams
            second.undo()
            assert [vars(target)[name] for target, name, _ in first._former] == planted
        assert first.seams
        assert first._former == []

    def test_the_tests_that_are_named_exist(self) -> None:
        for each in MUTANTS.values():
            for test in each.catcher.tests if isinstance(each.catcher, ByTests) else ():
                file, _, name = test.partition("::")
                assert not name or name in functions_of(file), f"{each.name} names {test}"


class TestPatching:
    def test_what_was_put_in_its_place_is_taken_away_again_though_it_was_inherited(self) -> None:
        class Heir(Guarded):
            pass

        with patching() as patch:
            patch.setattr(Heir, "guard", "off")
            assert (Heir.guard, Guarded.guard) == ("off", "on")
        assert "guard" not in vars(Heir)

    def test_a_guard_that_is_not_there_any_more_is_not_passed_over(self) -> None:
        with pytest.raises(AttributeError):
            Patch().setattr(Guarded, "former_guard", "off")


def off(catcher: BySimulator | ByTests) -> Mutant:
    @mutant(guard="a guard", breaks="I1", catcher=catcher)
    def a_guard_is_off(patch: Patch) -> None:
        """Nothing is guarded."""
        patch.setattr(Guarded, "guard", "off")

    return a_guard_is_off


def violated_when(monkeypatch: pytest.MonkeyPatch, found: dict[tuple[int, str], str]) -> None:
    """Have the cluster's world find that, by seed and by whether the guard is on."""

    def simulate(seed: int, faults: object) -> Result:
        violations = (found[seed, Guarded.guard],) if (seed, Guarded.guard) in found else ()
        return Result(seed, Verdict.VIOLATED if violations else Verdict.PASSED, violations, (), "")

    monkeypatch.setattr(trial, "WORLDS", {CLUSTER: simulate})


class TestASimulatedTrial:
    def test_a_violation_that_only_the_mutant_shows_catches_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        violated_when(monkeypatch, {(3, "off"): "I1: gone"})
        catcher = in_cluster(names="I1", seeds=5)
        shown = simulated_trial(off(catcher), catcher)
        assert (shown.fate, shown.said) == (Fate.CAUGHT, "seed 3: I1: gone")
        assert Guarded.guard == "on"

    def test_what_no_seed_shows_survives(self, monkeypatch: pytest.MonkeyPatch) -> None:
        violated_when(monkeypatch, {(6, "off"): "I1: gone"})
        catcher = in_cluster(seeds=5)
        assert simulated_trial(off(catcher), catcher).fate is Fate.SURVIVED

    def test_another_violation_than_the_one_that_is_named_shows_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        violated_when(monkeypatch, {(1, "off"): "I4: forgotten"})
        catcher = in_cluster(names="I1")
        assert simulated_trial(off(catcher), catcher).fate is Fate.UNDECIDED

    def test_a_seed_that_is_violated_without_it_shows_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        violated_when(monkeypatch, {(1, "off"): "I1: gone", (1, "on"): "I1: gone"})
        catcher = in_cluster()
        assert simulated_trial(off(catcher), catcher).fate is Fate.UNDECIDED
        assert control([catcher]) == "cluster simulator, seed 1, all faults: I1: gone"


class TestATestedTrial:
    FAILED = {"test": "tests/t.py::test_x", "when": "call", "outcome": "failed", "said": "assert 1 ==\n 2"}  # noqa: RUF012  # of the test's own
    PASSED = {**FAILED, "outcome": "passed", "said": ""}  # noqa: RUF012  # likewise
    NOT_SET_UP = {**FAILED, "when": "setup"}  # noqa: RUF012  # likewise

    def test_a_test_that_fails_catches_it(self) -> None:
        shown = judge_tests(1, [self.PASSED, self.FAILED], "")
        assert (shown.fate, shown.said) == (Fate.CAUGHT, "t.py::test_x: assert 1 == 2")

    def test_tests_that_all_pass_do_not(self) -> None:
        assert judge_tests(0, [self.PASSED], "").fate is Fate.SURVIVED

    @pytest.mark.parametrize(("code", "told"), [(1, [NOT_SET_UP]), (0, []), (2, []), (4, []), (5, []), (-9, [])])
    def test_a_test_that_could_not_be_set_up_or_found_shows_nothing(
        self, code: int, told: list[dict[str, str]]
    ) -> None:
        assert judge_tests(code, told, "no such test").fate is Fate.UNDECIDED

    def test_its_catcher_tells_the_tests(self) -> None:
        assert by_test("t.py::test_x", "t.py::test_y").told == "tests/t.py::test_x, tests/t.py::test_y"
