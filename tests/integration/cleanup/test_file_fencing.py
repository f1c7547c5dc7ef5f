"""Stale claims, other processes and hard kills: what the lock, the tokens and the tombstones are for."""

# ruff: noqa: ASYNC240 - the loop has nothing else to do while a test looks at its files

import asyncio
import fcntl
import os
import random
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from garbagetruck.cluster.cleanup.handler import CleanupResult, Verdict
from garbagetruck.cluster.cleanup.handlers.file import FileHandler, fence, removal
from garbagetruck.cluster.cleanup.handlers.file.fence import Fence, FenceBusyError, FenceUnusableError, OvertakenError
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
async def deposed(root: Path) -> AsyncIterator[FileHandler]:
    async with file_handler(root) as handler:
        yield handler


@pytest.fixture
async def leader(root: Path) -> AsyncIterator[FileHandler]:
    async with file_handler(root) as handler:
        yield handler


def the_fence(root: Path) -> Path:
    (found,) = root.glob(".garbagetruck-fence-*")
    return found


# -- tokens -----------------------------------------------------------------------------------------------------


async def test_i5_a_file_made_anew_survives_a_stale_claim_even_if_it_looks_the_same(
    deposed: FileHandler, leader: FileHandler, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The identity cannot tell them apart here: the token has to."""
    monkeypatch.setattr(removal, "identity", lambda _status: "looks the same")
    stale = call_of(deposed, HERE, token=100, identity="looks the same")
    assert await clean(leader, "42", token=200) == CleanupResult.done()
    target.write_text("leased again")
    result = await deposed.clean(stale)
    assert result.verdict is Verdict.FAILED
    assert "overtaken: token 200" in result.error
    assert target.read_text() == "leased again"


async def test_i5_a_stale_claim_is_refused_even_where_the_later_one_found_nothing_to_do(
    deposed: FileHandler, leader: FileHandler, target: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "identity", lambda _status: "looks the same")
    target.unlink()
    root.joinpath("folder").mkdir()
    for path in ("42", "folder/42"):
        parameters = {"path": path}
        stale = call_of(deposed, parameters, token=100, identity="looks the same")
        assert await leader.clean(call_of(leader, parameters, token=200)) == CleanupResult.already_gone()
        (root / path).write_text("leased again")
        assert (await deposed.clean(stale)).verdict is Verdict.FAILED
        assert (root / path).read_text() == "leased again"


async def test_i5_a_stale_claim_is_refused_though_the_folder_was_missing_for_the_later_one(
    deposed: FileHandler, leader: FileHandler, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "identity", lambda _status: "looks the same")
    parameters = {"path": "folder/42"}
    stale = call_of(deposed, parameters, token=100, identity="looks the same")
    assert await leader.clean(call_of(leader, parameters, token=200)) == CleanupResult.already_gone()
    (root / "folder").mkdir()
    (root / "folder" / "42").write_text("leased again")
    assert (await deposed.clean(stale)).verdict is Verdict.FAILED
    assert (root / "folder" / "42").exists()


async def test_claims_on_other_targets_may_end_in_any_order(leader: FileHandler, root: Path) -> None:
    for number in range(50):
        (root / str(number)).touch()
    for number in range(50):
        assert await clean(leader, str(number), token=1_000 - number) == CleanupResult.done()


async def test_tokens_of_another_cluster_do_not_count(leader: FileHandler, target: Path) -> None:
    assert await clean(leader, "42", token=1_000_000) == CleanupResult.done()
    target.write_text("of a new cluster on the old folder")
    identity = await leader.observe(HERE)
    call = call_of(leader, HERE, token=5, identity=identity, cluster_id="cluster-2")
    assert await leader.clean(call) == CleanupResult.done()


async def test_i5_what_a_writer_stamped_with_a_later_token_is_left_alone(leader: FileHandler, target: Path) -> None:
    try:
        os.setxattr(target, removal.STAMP, b"150")
    except OSError:
        pytest.skip("this file system has no user attributes")
    result = await clean(leader, "42", token=100)
    assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
    assert "bears token 150" in result.error
    assert (await clean(leader, "42", token=150)).verdict is Verdict.FAILED, "a lower token, not an equal one"
    os.setxattr(target, removal.STAMP, b"soon")
    result = await clean(leader, "42", token=151)
    assert (result.verdict, result.retryable) == (Verdict.FAILED, False)
    os.setxattr(target, removal.STAMP, b"150")
    assert await clean(leader, "42", token=151) == CleanupResult.done()


def begin(root: Path, point: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", PROCESS, str(root), point, "42"])


# -- the lock ---------------------------------------------------------------------------------------------------


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


async def test_a_lock_that_is_held_for_a_moment_is_waited_for(leader: FileHandler, target: Path, root: Path) -> None:
    await clean(leader, "none")
    with the_fence(root).open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        waiting = asyncio.create_task(clean(leader, "42", token=101))
        await asyncio.sleep(0.03)
        assert not waiting.done()
        fcntl.flock(other, fcntl.LOCK_UN)
    assert await waiting == CleanupResult.done()


async def test_a_fence_that_was_removed_under_a_running_node_is_made_again(
    leader: FileHandler, target: Path, root: Path
) -> None:
    await clean(leader, "none")
    the_fence(root).unlink()
    assert await clean(leader, "42") == CleanupResult.done()
    assert the_fence(root).exists()


async def test_a_file_in_the_fences_place_that_is_none_stops_everything(
    leader: FileHandler, deposed: FileHandler, target: Path, root: Path
) -> None:
    await clean(deposed, "none")
    the_fence(root).write_bytes(b"something else")
    result = await clean(leader, "42")
    assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
    assert "was not written by this version" in result.error
    assert target.exists()


# -- hard kills -------------------------------------------------------------------------------------------------


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


# -- the table --------------------------------------------------------------------------------------------------


def test_i5_a_lower_token_is_refused_and_an_equal_one_is_a_retry(root: Path) -> None:
    one, other = Fence(str(root), "c"), Fence(str(root), "c")
    with one.held() as table:
        assert table.admit("file:/x", 10) is None
        table.note("file:/x", b"12345678")
    with other.held() as table:
        assert table.admit("file:/x", 10) == b"12345678"
        with pytest.raises(OvertakenError):
            table.admit("file:/x", 9)
        assert table.admit("file:/x", 11) == b"12345678", "the note outlives the next attempt's arrival"
        assert table.admit("file:/y", 1) is None
    one.close()
    other.close()


def test_i5_a_full_bucket_forgets_the_oldest_and_stays_safe(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fence, "BUCKETS", 1)
    one = Fence(str(root), "c")
    with one.held() as table:
        for token in range(1, fence.ENTRIES_PER_BUCKET + 3):
            table.admit(f"file:/{token}", token)
        for forgotten in (1, 2):
            with pytest.raises(OvertakenError):
                table.admit(f"file:/{forgotten}", forgotten - 1)
        with pytest.raises(OvertakenError):
            table.admit("file:/never-seen", 1)
        assert table.admit("file:/never-seen", 100) is None, "a new claim's token is higher than all"
        assert table.admit("file:/7", 7) is None, "what is remembered is compared with itself alone"
    one.close()


def test_the_table_agrees_with_a_plain_dictionary(root: Path, seed: int) -> None:
    draw = random.Random(seed)
    one, seen = Fence(str(root), "c"), dict[str, int]()
    with one.held() as table:
        for _ in range(5_000):
            target, token = f"file:/{draw.randrange(2_000)}", draw.randrange(1, 1 << 53)
            overtaken = token < seen.get(target, 0)
            try:
                table.admit(target, token)
            except OvertakenError:
                assert overtaken
            else:
                assert not overtaken
                seen[target] = token
    one.close()


def test_a_lock_is_one_across_descriptors_and_ends_with_them(root: Path) -> None:
    one, other = Fence(str(root), "c"), Fence(str(root), "c")
    with one.held():
        with pytest.raises(FenceBusyError, match="another process"), other.held():
            pass
        with Fence(str(root), "another cluster").held():
            pass
    with other.held():
        pass
    other.close()
    with pytest.raises(FenceBusyError, match="stopped"), other.held():
        pass
    one.close()


def test_a_fence_emptied_by_a_loss_of_power_begins_anew_and_a_foreign_one_is_refused(root: Path) -> None:
    one = Fence(str(root), "c")
    with one.held():
        pass
    one.close()
    size = the_fence(root).stat().st_size
    the_fence(root).write_bytes(bytes(size))
    other = Fence(str(root), "c")
    with other.held() as table:
        table.admit("file:/x", 1)
    other.close()
    the_fence(root).write_bytes(b"garbagetruck fence 2\n")
    foreign = Fence(str(root), "c")
    for _ in range(2):
        with pytest.raises(FenceUnusableError), foreign.held():
            pass
    foreign.close()


def test_a_link_in_the_fences_place_is_not_followed(root: Path, tmp_path: Path) -> None:
    one = Fence(str(root), "c")
    with one.held():
        pass
    one.close()
    path = the_fence(root)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"), Fence(str(root), "c").held():
        pass
    assert not (tmp_path / "elsewhere").exists()
