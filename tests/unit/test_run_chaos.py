"""`make chaos`: every part is told, bounded and run, and the worst of their verdicts is the whole's."""

import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType

import pytest

from garbagetruck.chaos.scenarios import SCENARIOS
from tests.architecture.checkout import ROOT

# What stands in for the command: it says what it was asked, and ends as its last argument says, or not at all.
STAND_IN = "import sys, time; time.sleep(60) if sys.argv[-1] == 'never' else sys.exit(int(sys.argv[-1]))"


@pytest.fixture
def chaos(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_chaos", ROOT / "tools/run_chaos.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "run_chaos", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def whole(chaos: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The run of parts that end so; the first word of each is how, the second for how long it may go on."""

    def run(*parts: tuple[str, float]) -> int:
        monkeypatch.setattr(chaos, "GARBAGETRUCK", (sys.executable, "-c", STAND_IN))
        planned = [chaos.Part(f"ends with {how}", [how], s_max) for how, s_max in parts]
        monkeypatch.setattr(chaos, "parts_of", lambda _: planned)
        monkeypatch.setattr(sys, "argv", ["run_chaos.py"])
        return int(chaos.main())

    return run


@pytest.mark.parametrize(("ends", "code"), [("000", 0), ("030", 3), ("031", 1), ("302", 2), ("120", 1)], ids=str)
def test_all_parts_run_and_the_worst_of_their_verdicts_is_the_wholes(
    whole: Callable[..., int], capsys: pytest.CaptureFixture[str], ends: str, code: int
) -> None:
    assert whole(*((each, 60.0) for each in ends)) == code
    told = capsys.readouterr().err
    assert "=== 1 of 3: ends with" in told
    assert "=== 3 of 3 parts" in told


def test_a_part_that_does_not_end_in_its_time_is_ended_and_undecided(
    whole: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert whole(("never", 0.2), ("0", 60.0)) == 3
    assert "not done after 0 minutes" in capsys.readouterr().err


def test_every_scenario_is_a_part_and_the_million_only_where_there_is_memory(
    chaos: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    planned: list[str] = []

    def note(part: object) -> object:
        arguments = part.arguments  # type: ignore[attr-defined]
        planned.append(" ".join(arguments))
        return chaos.Done(part, 0, "passed", 0.0)

    monkeypatch.setattr(chaos, "run", note)
    monkeypatch.setattr(sys, "argv", ["run_chaos.py", "--seed", "7"])
    monkeypatch.setattr(chaos, "free_bytes", lambda: 1 << 30)
    assert chaos.main() == 0
    assert {each.split()[1] for each in planned if each.startswith("run ")} == set(SCENARIOS)
    assert not any("--size" in each for each in planned)
    assert "want" in capsys.readouterr().err
    monkeypatch.setattr(chaos, "free_bytes", lambda: 64 << 30)
    assert chaos.main() == 0
    assert planned[-1] == "run mass-expiry-leader-dies --size 1000000 --seed 7"
