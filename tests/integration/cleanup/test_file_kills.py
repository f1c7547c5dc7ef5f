"""Processes that are stopped or killed hard in the middle: nothing is lost, nothing is left."""

# ruff: noqa: ASYNC240 - the loop has nothing else to do while a test looks at its files

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from garbagetruck.cluster.cleanup.handler import CleanupResult, Verdict
from garbagetruck.cluster.cleanup.handlers.file import FileHandler, removal
from tests.integration.cleanup.calls import call_of, clean, file_handler, names_in

HERE = {"path": "42"}

PROCESS = textwrap.dedent(
    """
    import asyncio, os, signal, sys
    from pathlib import Path
    from garbagetruck.cluster.cleanup.handlers.file import removal, walk
    from tests.integration.cleanup.calls import clean, file_handler

    root, point, path = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    rename = removal.rename_no_replace

    def die(*_arguments, **_named):
        os.kill(os.getpid(), signal.SIGKILL)

    def rename_and_die(*arguments):
        rename(*arguments)
        die()

    def replace_rename_and_die(directory, old, new):
        (root / "other").write_text("not leased, and not yours")
        (root / "other").replace(root / path)
        rename_and_die(directory, old, new)

    def stop_and_rename(*arguments):
        os.kill(os.getpid(), signal.SIGSTOP)
        rename(*arguments)

    if point == "stop before rename":
        removal.rename_no_replace = stop_and_rename
    elif point == "before rename":
        removal.rename_no_replace = die
    elif point == "after rename":
        removal.rename_no_replace = rename_and_die
    elif point == "after renaming another":
        removal.rename_no_replace = replace_rename_and_die
    elif point == "before unlink":
        os.unlink = die
    elif point == "in the tree":
        os.rmdir = die

    async def main():
        async with file_handler(root, directories=True) as handler:
            await clean(handler, path, token=100)

    asyncio.run(main())
    """
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    return path


@pytest.fixture
def target(root: Path) -> Path:
    path = root / "42"
    path.write_text("an image")
    return path


@pytest.fixture
async def leader(root: Path) -> AsyncIterator[FileHandler]:
    async with file_handler(root) as handler:
        yield handler


def begin(root: Path, point: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", PROCESS, str(root), point, "42"])


async def test_i5_while_a_stopped_leader_is_between_comparison_and_rename_nobody_else_can_finish(
    root: Path, target: Path, leader: FileHandler
) -> None:
    """So no new generation can begin, and no file can be made anew under a lease, before the old rename has happened."""
    deposed = begin(root, "stop before rename")
    try:
        _, status = await asyncio.to_thread(os.waitpid, deposed.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        patience = iter([1.0] * 6 + [0.0] * 100)
        identity = await leader.observe(HERE)
        result = await leader.clean(
            call_of(leader, HERE, token=200, identity=identity, remaining_s=lambda: next(patience))
        )
        assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
        assert "holds the lock" in result.error
        assert target.exists()
    finally:
        deposed.send_signal(signal.SIGCONT)
        assert await asyncio.to_thread(deposed.wait, 60) == 0
    assert not target.exists()
    assert await clean(leader, "42", token=201) == CleanupResult.already_gone()


def kill_at(root: Path, point: str, path: str = "42") -> None:
    """Run one attempt in a process of its own, which kills itself hard at the point."""
    process = subprocess.run([sys.executable, "-c", PROCESS, str(root), point, path], check=False, timeout=60)
    assert process.returncode == -9, "the kill hit"


@pytest.mark.parametrize("point", ["before rename", "after rename", "before unlink"])
async def test_i4_killed_hard_anywhere_the_retry_finishes_and_leaves_nothing(
    root: Path, target: Path, leader: FileHandler, point: str
) -> None:
    kill_at(root, point)
    assert target.exists() == (point == "before rename")
    assert len(names_in(root)) == 1
    assert await clean(leader, "42", token=200, attempt=2) == CleanupResult.done()
    assert names_in(root) == set()


async def test_i4_killed_hard_while_a_directory_is_emptied_the_retry_finishes(root: Path) -> None:
    for number in range(5):
        (root / "tree" / str(number)).mkdir(parents=True)
        (root / "tree" / str(number) / "file").touch()
    kill_at(root, "in the tree", "tree")
    assert not (root / "tree").exists()
    async with file_handler(root, directories=True) as leader:
        assert await clean(leader, "tree", token=200, attempt=2) == CleanupResult.done()
    assert names_in(root) == set()


async def test_i1_killed_hard_with_anothers_file_in_hand_the_retry_gives_it_back(
    root: Path, target: Path, leader: FileHandler
) -> None:
    """It was replaced in the very window, and the process died before it could compare. The note in the fence tells."""
    kill_at(root, "after renaming another")
    assert not target.exists()
    result = await clean(leader, "42", token=200, attempt=2)
    assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
    assert "put back" in result.error
    assert target.read_text() == "not leased, and not yours"


async def test_a_left_over_of_another_generation_is_not_touched(root: Path, target: Path, leader: FileHandler) -> None:
    kill_at(root, "after rename")
    target.write_text("the next life")
    assert await clean(leader, "42", token=200, generation=8) == CleanupResult.done()
    assert len(names_in(root)) == 1, "the tombstone of generation 7 is generation 7's to finish"


async def test_after_a_kill_the_tokens_are_still_known(
    root: Path, target: Path, leader: FileHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_at(root, "before unlink")
    monkeypatch.setattr(removal, "identity", lambda _status: "looks the same")
    target.write_text("leased again")
    assert (await leader.clean(call_of(leader, HERE, token=99, identity="looks the same"))).verdict is Verdict.FAILED
    assert target.exists()
