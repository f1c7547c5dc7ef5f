"""The `file` handler on real files: what it removes, and what it leaves alone because it changed."""

# ruff: noqa: ASYNC240 - the loop has nothing else to do while a test looks at its files

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from garbagetruck.cluster.cleanup.handler import ABSENT, CleanupResult, Verdict
from garbagetruck.cluster.cleanup.handlers.file import FileHandler, linux, removal
from tests.integration.cleanup.calls import call_of, clean, file_handler, names_in

HERE = {"path": "uploads/42"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    (path / "uploads").mkdir(parents=True)
    return path


@pytest.fixture
def target(root: Path) -> Path:
    path = root / "uploads" / "42"
    path.write_text("an image")
    return path


@pytest.fixture
async def handler(root: Path) -> AsyncIterator[FileHandler]:
    async with file_handler(root) as started:
        yield started


async def test_i4_a_file_is_removed_and_nothing_is_left_beside_it(
    handler: FileHandler, root: Path, target: Path
) -> None:
    assert await clean(handler, "uploads/42") == CleanupResult.done()
    assert names_in(root) == {"uploads"}


async def test_what_is_gone_already_is_a_success(handler: FileHandler, root: Path) -> None:
    assert await handler.observe(HERE) == ABSENT
    assert await clean(handler, "uploads/42") == CleanupResult.already_gone()
    assert await clean(handler, "no/such/folder") == CleanupResult.already_gone()
    (root / "file").touch()
    assert await clean(handler, "file/below") == CleanupResult.already_gone()


async def test_a_path_may_be_absolute_within_the_root(handler: FileHandler, target: Path) -> None:
    assert await clean(handler, str(target)) == CleanupResult.done()
    assert not target.exists()


async def test_a_repeated_attempt_finds_its_work_done(handler: FileHandler, target: Path) -> None:
    call = call_of(handler, HERE, identity=await handler.observe(HERE))
    assert await handler.clean(call) == CleanupResult.done()
    assert await handler.clean(call) == CleanupResult.already_gone()


async def test_a_name_that_is_not_utf8_beside_the_target_is_no_obstacle(
    handler: FileHandler, root: Path, target: Path
) -> None:
    Path(os.fsdecode(os.fsencode(root / "uploads") + b"/\xff\xfe")).touch()
    assert await clean(handler, "uploads/42") == CleanupResult.done()


async def test_i1_a_file_replaced_after_it_was_observed_is_left_alone(handler: FileHandler, target: Path) -> None:
    call = call_of(handler, HERE, identity=await handler.observe(HERE))
    target.unlink()
    target.write_text("an image")
    result = await handler.clean(call)
    assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
    assert "changed since it was observed" in result.error
    assert target.read_text() == "an image"


async def test_i1_a_copy_with_the_same_inode_size_and_mtime_is_not_the_same_file(
    handler: FileHandler, target: Path
) -> None:
    before = target.stat()
    call = call_of(handler, HERE, identity=await handler.observe(HERE))
    target.write_text("AN IMAGE")  # the same inode, surely
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (target.stat().st_ino, target.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert (await handler.clean(call)).verdict is Verdict.FAILED
    assert target.read_text() == "AN IMAGE"


async def test_i1_a_file_created_after_nothing_was_observed_is_left_alone(handler: FileHandler, target: Path) -> None:
    target.unlink()
    call = call_of(handler, HERE, identity=await handler.observe(HERE))
    target.write_text("new")
    result = await handler.clean(call)
    assert result.verdict is Verdict.FAILED
    assert "it was absent" in result.error
    assert target.read_text() == "new"


async def test_the_next_attempt_observes_anew_and_succeeds(handler: FileHandler, target: Path) -> None:
    call = call_of(handler, HERE, identity=await handler.observe(HERE))
    target.write_text("changed")
    assert (await handler.clean(call)).retryable
    assert await clean(handler, "uploads/42", token=101, attempt=2) == CleanupResult.done()


async def test_i1_a_file_replaced_between_comparison_and_rename_gets_its_name_back(
    handler: FileHandler, root: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever holds no lease has no claim to it, but loses nothing all the same."""

    def replace_first(directory: int, old: bytes, new: bytes) -> None:
        if old == b"42":
            other = target.with_name("other")
            other.write_text("quick as lightning")
            other.replace(target)
        linux.rename_no_replace(directory, old, new)

    monkeypatch.setattr(removal, "rename_no_replace", replace_first)
    result = await clean(handler, "uploads/42")
    assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
    assert "put back" in result.error
    assert target.read_text() == "quick as lightning"
    assert names_in(root) == {"uploads", "uploads/42"}


async def test_i1_a_replaced_file_whose_name_is_taken_again_is_kept_beside_it(
    handler: FileHandler, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replace_first(directory: int, old: bytes, new: bytes) -> None:
        if old == b"42":
            target.unlink()
            target.write_text("the second")
            linux.rename_no_replace(directory, old, new)
            target.write_text("the third")
        else:
            linux.rename_no_replace(directory, old, new)

    monkeypatch.setattr(removal, "rename_no_replace", replace_first)
    result = await clean(handler, "uploads/42")
    assert (result.verdict, result.retryable) == (Verdict.FAILED, False)
    assert target.read_text() == "the third"
    (kept,) = target.parent.glob(".garbagetruck-*")
    assert kept.name in result.error
    assert kept.read_text() == "the second"


async def test_i8_nothing_is_renamed_when_the_attempt_may_not_proceed(
    handler: FileHandler, root: Path, target: Path
) -> None:
    identity = await handler.observe(HERE)
    for call in (
        call_of(handler, HERE, identity=identity, remaining_s=lambda: 0.0),
        call_of(handler, HERE, identity=identity, still_leading=lambda: False),
    ):
        assert (await handler.clean(call)).verdict is Verdict.FAILED
    assert names_in(root) == {"uploads", "uploads/42"}


async def test_i8_stopped_between_rename_and_removal_the_next_attempt_finishes(
    handler: FileHandler, root: Path, target: Path
) -> None:
    answers = iter([True, False])
    call = call_of(handler, HERE, identity=await handler.observe(HERE), still_leading=lambda: next(answers))
    assert (await handler.clean(call)).verdict is Verdict.FAILED
    assert not target.exists()
    assert len(names_in(root)) == 2, "the tombstone"
    assert await clean(handler, "uploads/42", token=101, attempt=2) == CleanupResult.done()
    assert names_in(root) == {"uploads"}
