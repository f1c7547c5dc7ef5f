"""The command line as a process: pipes, signals, terminals, and commands that run while a lease is held."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from garbagetruck.cli.exits import Exit
from tests.cluster_fixtures.command_line import GARBAGETRUCK, Line, environment, until
from tests.cluster_fixtures.local import LocalCluster


@pytest.fixture
def cluster(standing: LocalCluster) -> LocalCluster:
    return standing


@pytest.fixture
def run(cluster: LocalCluster) -> Line:
    return Line(cluster)


def start(cluster: LocalCluster, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*GARBAGETRUCK, *arguments],
        env=environment(cluster),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def shell(cluster: LocalCluster, script: str) -> subprocess.CompletedProcess[str]:
    """`$G` in the script is the command."""
    quoted = f"{sys.executable} -c 'from garbagetruck.cli.main import main; main()'"
    return subprocess.run(
        ["bash", "-c", script.replace("$G", quoted)],
        env=environment(cluster),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_ctrl_c_ends_a_watch_with_130_and_without_a_trace(cluster: LocalCluster, run: Line) -> None:
    run("lease acquire watched --ttl 5m")
    watching = start(cluster, "watch", "--from", "1")
    assert watching.stdout is not None
    assert watching.stdout.readline()
    watching.send_signal(signal.SIGINT)
    _, told = watching.communicate(timeout=60)
    assert (watching.returncode, told) == (Exit.INTERRUPTED, "")


def test_a_reader_that_goes_away_ends_the_command_quietly(cluster: LocalCluster) -> None:
    ran = shell(cluster, "$G member list | true; echo ${PIPESTATUS[0]}")
    assert (ran.stdout, ran.stderr) == ("1\n", "")


def test_what_cannot_be_written_is_an_error_without_a_trace(cluster: LocalCluster) -> None:
    ran = shell(
        cluster, "$G member list > /dev/full; echo $?; $G member list >&-; echo $?; $G --help > /dev/full; echo $?"
    )
    assert ran.stdout.split() == ["1", "1", "1"]
    assert ran.stderr.splitlines() == [
        "Error: nothing can be written to standard output: No space left on device",
        "Error: nothing can be written to standard output: it is closed",
        "Error: nothing can be written to standard output: No space left on device",
    ]


def test_a_command_is_held_told_and_released(cluster: LocalCluster, run: Line, tmp_path: Path) -> None:
    script = f"touch {tmp_path}/up; trap 'exit 9' TERM; sleep 60 & wait"
    holding = start(cluster, "lease", "exec", "held/1", "--ttl", "20s", "--", "bash", "-c", script)
    until((tmp_path / "up").exists)
    (held,) = run.json("lease list --resource held/1")["leases"]
    holding.send_signal(signal.SIGTERM)
    _, told = holding.communicate(timeout=60)
    assert (holding.returncode, told) == (9, "")
    assert run.json(f"lease get {held['id']}")["state"] == "released"


def test_i1_a_command_whose_lease_is_taken_away_is_ended(cluster: LocalCluster, run: Line, tmp_path: Path) -> None:
    script = f"touch {tmp_path}/up; exec sleep 60"
    holding = start(cluster, "lease", "exec", "held/2", "--ttl", "6s", "--", "sh", "-c", script)
    until((tmp_path / "up").exists)
    run(f"lease release {run.name('lease list --resource held/2')}")
    _, told = holding.communicate(timeout=60)
    assert holding.returncode == Exit.PRECONDITION
    assert "the lease on held/2 is lost" in told


def test_only_a_success_keeps_the_resource(cluster: LocalCluster, run: Line) -> None:
    ran = shell(cluster, "$G lease exec held/3 --ttl 5s --keep-resource --cleanup file:path=held3 -- true; echo $?")
    assert ran.stdout.split() == ["0"]
    run("resource get held/3", exits=Exit.NOT_FOUND)


def test_a_refused_lease_never_starts_its_command(run: Line, tmp_path: Path) -> None:
    run("lease exec held/4 --ttl 1ms", "--", "touch", str(tmp_path / "started"), exits=Exit.REFUSED)
    assert not (tmp_path / "started").exists()


AT_A_TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


def at_a_terminal(cluster: LocalCluster, line: list[str], *, asked: bytes, typed: bytes) -> int:
    """The exit code of a command that a person runs, who types something when the terminal shows something."""
    command = [sys.executable, "-c", AT_A_TERMINAL, *GARBAGETRUCK, *line]
    with subprocess.Popen(
        command, env=environment(cluster), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as person:
        assert person.stdin is not None
        assert person.stdout is not None
        shown = b""
        while asked not in shown:
            read = person.stdout.read(1_024)
            assert read, shown
            shown += read
        person.stdin.write(typed)
        person.stdout.read()
        return person.wait(60)


def test_at_a_terminal_ctrl_c_reaches_the_command_once(cluster: LocalCluster) -> None:
    script = "n=0; trap 'n=$((n+1))' INT; echo up; sleep 1 & wait; wait; sleep 0.5; exit $((40 + n))"
    line = ["lease", "exec", "held/5", "--ttl", "20s", "--", "bash", "-c", script]
    assert at_a_terminal(cluster, line, asked=b"up", typed=b"\x03") == 41


@pytest.mark.parametrize(("answer", "code"), [(b"y", 0), (b"n", 1)])
def test_at_a_terminal_a_person_is_asked(cluster: LocalCluster, run: Line, answer: bytes, code: int) -> None:
    run("namespace set asked --brake")
    line = ["namespace", "set", "asked", "--no-brake"]
    assert at_a_terminal(cluster, line, asked=b"Go on?", typed=answer + b"\n") == code
    assert run.json("namespace get asked")["brake"]["enabled"] is (code != 0)


def leader_of(run: Line) -> str:
    until(lambda: run.json("status", exits=None)["leader"] is not None)
    return str(run.json("status", exits=None)["leader"])


def test_leadership_goes_where_an_operator_wants_it(cluster: LocalCluster, run: Line) -> None:
    leader = leader_of(run)
    other = next(each for each in cluster.nodes if each != leader)
    assert run.json(f"leader transfer --to {other}") == {"leader": other}
    assert run.json(f"leader transfer --to {other}") == {"leader": other}, "it leads already"
    assert run.name("leader transfer") != other
    run("leader transfer --to n9", exits=Exit.NOT_FOUND)
