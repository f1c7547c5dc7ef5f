"""Stale claims and locks: what was leased anew survives whoever comes too late."""

# ruff: noqa: ASYNC240 - the loop has nothing else to do while a test looks at its files

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from garbagetruck.cluster.cleanup.handler import CleanupResult, Verdict
from garbagetruck.cluster.cleanup.handlers.file import FileHandler, removal
from tests.integration.cleanup.calls import call_of, clean, file_handler

HERE = {"path": "42"}


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
