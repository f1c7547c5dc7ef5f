"""Removing directories: only where the operator allows it, whole or not at all, from the inside of one device."""

# ruff: noqa: ASYNC240 - the loop has nothing else to do while a test looks at its files

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from garbagetruck.cluster.cleanup.handler import CleanupResult, ObservationError, Verdict
from garbagetruck.cluster.cleanup.handlers.file import FileHandler, walk
from tests.integration.cleanup.calls import call_of, clean, file_handler, names_in

TREE = {"path": "tree"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    return path


@pytest.fixture
def tree(root: Path) -> Path:
    path = root / "tree"
    for folder in ("a/b/c", "a/d", "e"):
        (path / folder).mkdir(parents=True)
        for number in range(3):
            (path / folder / str(number)).write_text("x")
    return path


@pytest.fixture
async def handler(root: Path) -> AsyncIterator[FileHandler]:
    async with file_handler(root, directories=True) as started:
        yield started


async def test_a_directory_is_removed_with_all_that_is_in_it(handler: FileHandler, root: Path, tree: Path) -> None:
    assert await clean(handler, "tree") == CleanupResult.done()
    assert names_in(root) == set()


async def test_an_empty_directory_is_removed(handler: FileHandler, root: Path) -> None:
    (root / "tree").mkdir()
    assert await clean(handler, "tree") == CleanupResult.done()
    assert names_in(root) == set()


async def test_a_file_is_removed_by_a_handler_that_may_remove_directories(handler: FileHandler, tree: Path) -> None:
    assert await clean(handler, "tree/a/d/1") == CleanupResult.done()
    assert not (tree / "a/d/1").exists()


async def test_directories_are_left_alone_unless_the_operator_allows_them(root: Path, tree: Path) -> None:
    async with file_handler(root) as files_only:
        with pytest.raises(ObservationError, match="option `directories`"):
            await files_only.observe(TREE)
        async with file_handler(root, directories=True) as other:
            identity = await other.observe(TREE)
        result = await files_only.clean(call_of(files_only, TREE, identity=identity))
    assert (result.verdict, result.retryable) == (Verdict.FAILED, False)
    assert (tree / "a/b/c/2").exists()


async def test_i1_links_inside_are_removed_and_not_followed(
    handler: FileHandler, root: Path, tree: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "keep").write_text("keep")
    (tree / "a" / "to-folder").symlink_to(outside)
    (tree / "to-file").symlink_to(outside / "keep")
    assert await clean(handler, "tree") == CleanupResult.done()
    assert names_in(root) == set()
    assert (outside / "keep").read_text() == "keep"


async def test_i1_a_directory_that_holds_a_mount_is_refused_before_anything_of_it_is_gone(
    handler: FileHandler, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted = (tree / "a/b/c").stat().st_ino
    before = sorted(tree.rglob("*"))
    identity = await handler.observe(TREE)
    monkeypatch.setattr(walk, "device_of", lambda status: 99 if status.st_ino == mounted else status.st_dev)
    result = await handler.clean(call_of(handler, TREE, identity=identity))
    assert (result.verdict, result.retryable) == (Verdict.FAILED, False)
    assert "mount point" in result.error
    assert sorted(tree.rglob("*")) == before


async def test_a_directory_that_is_nested_too_deep_is_refused_whole(handler: FileHandler, tree: Path) -> None:
    deep = tree.joinpath(*["d"] * (walk.DEPTH_MAX + 1))
    deep.mkdir(parents=True)
    result = await clean(handler, "tree")
    assert (result.verdict, result.retryable) == (Verdict.FAILED, False)
    assert "deeper" in result.error
    assert deep.exists()


async def test_i1_a_directory_that_changed_after_it_was_observed_is_left_alone(
    handler: FileHandler, tree: Path
) -> None:
    call = call_of(handler, TREE, identity=await handler.observe(TREE))
    (tree / "new").touch()
    assert (await handler.clean(call)).retryable
    assert (tree / "new").exists()
    assert (tree / "a/b/c/2").exists()


@pytest.mark.parametrize("allowed", range(1, 20))
async def test_i4_stopped_anywhere_the_next_attempt_finishes(
    root: Path, tree: Path, handler: FileHandler, allowed: int
) -> None:
    asked = 0

    def may_go_on() -> bool:
        nonlocal asked
        asked += 1
        return asked <= allowed

    call = call_of(handler, TREE, identity=await handler.observe(TREE), still_leading=may_go_on)
    result = await handler.clean(call)
    if result.verdict is Verdict.FAILED:
        assert not tree.exists(), "it was renamed first, so that nobody sees half of it"
        assert await clean(handler, "tree", token=101, attempt=2) == CleanupResult.done()
    assert names_in(root) == set()


async def test_i5_a_directory_made_anew_survives_the_attempt_that_empties_the_old_one(
    root: Path, tree: Path, handler: FileHandler
) -> None:
    """The old one was renamed and is being emptied; its name is free, and taken again, by whomever."""

    def make_anew() -> bool:
        if not tree.exists():
            tree.mkdir()
            (tree / "precious").write_text("keep")
        return True

    asked = iter(range(1_000_000))
    call = call_of(
        handler,
        TREE,
        identity=await handler.observe(TREE),
        still_leading=lambda: next(asked) < 1 or make_anew(),
    )
    assert await handler.clean(call) == CleanupResult.done()
    assert names_in(root) == {"tree", "tree/precious"}


async def test_no_descriptor_is_left_open(root: Path, tree: Path, handler: FileHandler) -> None:
    await clean(handler, "none")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count is enough
    await clean(handler, "tree")
    await clean(handler, "tree/a")
    (root / "link").symlink_to("elsewhere")
    await handler.clean(call_of(handler, {"path": "link/x"}, identity="x"))
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - likewise
