"""Runs mutants, each in a process of its own, behind a control without any.

Duty: start the processes, bound how many there are, read what they say, judge. A process that outlives `TRIAL_S_MAX` is
killed, and so are all when this is cancelled.
Must not know: what a mutant does.
"""

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import garbagetruck
from garbagetruck.chaos.mutants.__main__ import CONTROL
from garbagetruck.chaos.mutants.mutant import BySimulator, ByTests, Mutant
from garbagetruck.chaos.mutants.plugin import MUTANT, OUTCOMES
from garbagetruck.chaos.mutants.trial import Fate, Trial

TRIAL_S_MAX = 900.0
"""Nothing takes a tenth of it on an idle machine."""
ENDING_S_MAX = 5.0
TEST_SEED = "1"
"""Of tests that draw something: a mutant is caught, or not, the same way every time."""
PASSED, FAILED = 0, 1
"""Of pytest's exit codes those that say something of tests."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A mutant, what became of it, and how long that took."""

    mutant: Mutant
    trial: Trial
    seconds: float


class Bench:
    """Runs at most `jobs` processes at once."""

    def __init__(self, jobs: int) -> None:
        self._room = asyncio.Semaphore(jobs)
        self._jobs = jobs

    async def control(self, mutants: Sequence[Mutant]) -> str | None:
        """What fails although nothing is switched off; None when nothing does."""
        simulated = [each.name for each in mutants if isinstance(each.catcher, BySimulator)]
        shares = [simulated[at :: self._jobs] for at in range(self._jobs)]
        tests = dict.fromkeys(
            test for each in mutants if isinstance(each.catcher, ByTests) for test in each.catcher.tests
        )

        async def in_turn(trial: Coroutine[Any, Any, Trial]) -> Trial:
            async with self._room:
                return await trial

        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(in_turn(self._simulate([CONTROL, *share]))) for share in shares if share]
            asked += [group.create_task(in_turn(self._test("", tuple(tests))))] if tests else []
        return next((each.result().said for each in asked if each.result().fate is not Fate.SURVIVED), None)

    async def judge(self, mutants: Sequence[Mutant], on_judged: Callable[[Judged], None]) -> list[Judged]:
        """All of them, in this order; `on_judged` hears of each as soon as it is known."""

        async def one(mutant: Mutant) -> Judged:
            async with self._room:
                began_s = time.monotonic()
                judged = Judged(mutant, await self._try(mutant), time.monotonic() - began_s)
            on_judged(judged)
            return judged

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(each)) for each in mutants]
        return [task.result() for task in tasks]

    async def _try(self, mutant: Mutant) -> Trial:
        match mutant.catcher:
            case BySimulator():
                return await self._simulate([mutant.name])
            case ByTests(tests):
                return await self._test(mutant.name, tests)

    async def _simulate(self, arguments: Sequence[str]) -> Trial:
        code, said = await _run([sys.executable, "-m", "garbagetruck.chaos.mutants", *arguments], {})
        try:
            told = json.loads(said.splitlines()[-1])
            return Trial(Fate(told["fate"]), told["said"])
        except (IndexError, ValueError, KeyError, TypeError):
            return Trial(Fate.UNDECIDED, f"the simulator ended with {code}: {_end_of(said)}")

    async def _test(self, name: str, tests: Sequence[str]) -> Trial:
        root = Path(garbagetruck.__file__).parent.parent
        if not (root / "tests").is_dir():
            return Trial(Fate.UNDECIDED, "there are no tests here: this needs a checkout of the project")
        with tempfile.TemporaryDirectory(prefix="garbagetruck-mutant-") as folder:
            outcomes = Path(folder, "outcomes.json")
            command = [sys.executable, "-m", "pytest", "-q", "-p", "garbagetruck.chaos.mutants.plugin"]
            command += ["-p", "no:cacheprovider", "--basetemp", str(Path(folder, "tests")), *tests]
            environment = {MUTANT: name, OUTCOMES: str(outcomes), "GARBAGETRUCK_TEST_SEED": TEST_SEED}
            code, said = await _run(command, environment, cwd=root)
            return judge_tests(code, _outcomes_in(outcomes), said)


def _outcomes_in(file: Path) -> list[dict[str, str]]:
    """What became of each test; nothing when pytest did not come so far."""
    try:
        outcomes: list[dict[str, str]] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    return outcomes


def judge_tests(code: int, told: Sequence[Mapping[str, Any]], said: str) -> Trial:
    """A test has to fail in its own words: one that could not be set up, or was not found, shows nothing."""
    failed = next((each for each in told if (each["when"], each["outcome"]) == ("call", "failed")), None)
    if code == FAILED and failed is not None:
        return Trial(Fate.CAUGHT, f"{failed['test'].removeprefix('tests/')}: {' '.join(failed['said'].split())}")
    if code == PASSED and any(each["outcome"] == "passed" for each in told):
        return Trial(Fate.SURVIVED, "no test failed")
    return Trial(Fate.UNDECIDED, f"pytest ended with {code}: {_end_of(said)}")


async def _run(command: Sequence[str], environment: Mapping[str, str], *, cwd: Path | None = None) -> tuple[int, str]:
    """Exit code and output; of a process that took too long, as if it had been killed."""
    around = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env={**around, **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(TRIAL_S_MAX):
            said, _ = await process.communicate()
    except TimeoutError:
        return -signal.SIGKILL, f"it did not end within {TRIAL_S_MAX:.0f} s"
    finally:
        await _end(process)
    return process.returncode or 0, said.decode(errors="replace")


async def _end(process: asyncio.subprocess.Process) -> None:
    """End it, if it goes on: first as Ctrl-C does, so that a test ends what it has started."""
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGINT)
    try:
        async with asyncio.timeout(ENDING_S_MAX):
            await process.communicate()
    except TimeoutError:
        process.kill()
        await process.communicate()


def _end_of(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return " / ".join(lines[-3:])
