"""`garbagetruck chaos mutants` with real child processes: a mutant that a test catches, and one that a simulator does."""

import json
import subprocess
import sys
import time

import psutil
import pytest

COMMAND = (sys.executable, "-c", "from garbagetruck.cli.main import main; main()", "chaos", "mutants")
BY_TEST, BY_SIMULATOR = "any-echo-counts", "tokens-repeat-themselves"


def test_a_handful_of_mutants_is_caught_and_the_control_passes() -> None:
    ran = subprocess.run(
        [*COMMAND, BY_TEST, BY_SIMULATOR, "-o", "json"], capture_output=True, text=True, timeout=110, check=False
    )
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    shown = json.loads(ran.stdout)
    assert shown["control"] == "passed"
    by_test, by_simulator = shown["mutants"]
    assert by_test["said"].startswith("unit/raft/test_confirm.py::"), "the test that failed is named"
    assert by_simulator["said"].startswith("seed "), "the seed that found it is named"


def test_a_run_that_is_interrupted_leaves_no_process() -> None:
    with subprocess.Popen([*COMMAND, BY_SIMULATOR, BY_TEST], stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        assert "control" in running.stderr.readline()
        started = children_of(running.pid)
        running.terminate()
        assert running.wait(timeout=60) == 130
    _, alive = psutil.wait_procs(started, timeout=0)
    assert alive == []


def children_of(pid: int) -> list[psutil.Process]:
    """Those that there are as soon as there is one."""
    parent = psutil.Process(pid)
    while parent.is_running():
        children = parent.children(recursive=True)
        if children:
            return children
        time.sleep(0.01)
    pytest.fail("it ended before it started anything")
