"""The `file` handler on real files: links, devices, other things, and roots that are not what they were."""

# ruff: noqa: ASYNC240 - the loop has nothing else to do while a test looks at its files

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from garbagetruck.cluster.cleanup.handler import CleanupResult, ObservationError, Verdict
from garbagetruck.cluster.cleanup.handlers.file import FileHandler, file_handlers, linux, walk
from garbagetruck.cluster.cleanup.running import run_directly
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


@pytest.mark.parametrize("path", ["link/secret", "uploads/secret-link"])
async def test_i1_symbolic_links_are_refused_wherever_they_are(
    handler: FileHandler, root: Path, tmp_path: Path, path: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("keep")
    (root / "link").symlink_to(outside)
    (root / "uploads" / "secret-link").symlink_to(outside / "secret")
    with pytest.raises(ObservationError, match="symbolic link") as caught:
        await handler.observe({"path": path})
    assert not caught.value.retryable
    result = await handler.clean(call_of(handler, {"path": path}, identity="anything"))
    assert (result.verdict, result.retryable) == (Verdict.FAILED, False)
    assert (outside / "secret").read_text() == "keep"
    assert (root / path).exists()


async def test_i1_a_folder_swapped_for_a_link_between_observing_and_cleaning_leads_nowhere(
    handler: FileHandler, root: Path, target: Path, tmp_path: Path
) -> None:
    call = call_of(handler, HERE, identity=await handler.observe(HERE))
    outside = tmp_path / "outside"
    (root / "uploads").rename(outside)  # so that the very same file is at the end of the link
    (root / "uploads").symlink_to(outside)
    result = await handler.clean(call)
    assert (result.verdict, result.retryable) == (Verdict.FAILED, False)
    assert "symbolic link" in result.error
    assert (outside / "42").exists()


async def test_i1_a_file_swapped_for_a_link_to_itself_is_refused(handler: FileHandler, target: Path) -> None:
    call = call_of(handler, HERE, identity=await handler.observe(HERE))
    target.rename(target.with_name("43"))
    target.symlink_to("43")
    assert not (await handler.clean(call)).retryable
    assert target.with_name("43").exists()
    assert target.is_symlink()


async def test_i1_another_device_is_not_entered(
    handler: FileHandler, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = await handler.observe(HERE)
    mounted = target.parent.stat().st_ino

    def device_of(status: os.stat_result) -> int:
        return 99 if status.st_ino == mounted else status.st_dev

    monkeypatch.setattr(walk, "device_of", device_of)
    result = await handler.clean(call_of(handler, HERE, identity=identity))
    assert (result.verdict, result.retryable) == (Verdict.FAILED, False)
    assert "another device" in result.error
    assert target.exists()


async def test_i1_a_file_that_lies_on_another_device_is_left_alone(
    handler: FileHandler, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted = target.stat().st_ino
    monkeypatch.setattr(walk, "device_of", lambda status: 99 if status.st_ino == mounted else status.st_dev)
    with pytest.raises(ObservationError, match="another device"):
        await handler.observe(HERE)


def test_a_mount_point_is_told_by_the_kernel_where_it_can() -> None:
    if not linux.has_openat2():
        pytest.skip("this kernel has no openat2")
    directory = os.open("/", os.O_PATH | os.O_DIRECTORY)
    try:
        with pytest.raises(OSError, match="cross-device"):
            linux.open_directory(directory, b"proc")
    finally:
        os.close(directory)


async def test_what_is_neither_file_nor_directory_is_refused(handler: FileHandler, root: Path) -> None:
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket"))
    for name in ("pipe", "socket"):
        with pytest.raises(ObservationError, match=name):
            await handler.observe({"path": name})
    with pytest.raises(ObservationError, match="is a directory, and this handler removes files only"):
        await handler.observe({"path": "uploads"})


async def test_a_root_that_was_exchanged_is_not_touched_and_its_targets_are_not_called_gone(
    handler: FileHandler, root: Path, target: Path
) -> None:
    """An unmounted disk looks like an empty folder. What is on it must not be forgotten."""
    call = call_of(handler, HERE, identity=await handler.observe(HERE))
    away = root.with_name("away")
    root.rename(away)
    for _ in ("missing", "another"):
        result = await handler.clean(call)
        assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
        with pytest.raises(ObservationError):
            await handler.observe(HERE)
        root.mkdir(exist_ok=True)
    assert (away / "uploads" / "42").exists()


async def test_what_cannot_be_removed_is_a_failure_that_may_be_retried(handler: FileHandler, target: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may remove anything")
    target.parent.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        result = await clean(handler, "uploads/42")
    finally:
        target.parent.chmod(stat.S_IRWXU)
    assert (result.verdict, result.retryable) == (Verdict.FAILED, True)


async def test_without_the_newer_system_calls_files_are_removed_and_kept_all_the_same(
    handler: FileHandler, root: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linux, "_renameat2", lambda: None)
    monkeypatch.setattr(linux, "has_openat2", lambda: False)
    (root / "link").symlink_to(root / "uploads")
    assert not (await handler.clean(call_of(handler, {"path": "link/42"}, identity="x"))).retryable
    assert await clean(handler, "uploads/42") == CleanupResult.done()
    directory = os.open(root, os.O_RDONLY)
    try:
        (root / "a").touch()
        (root / "b").touch()
        with pytest.raises(FileExistsError):
            linux.rename_no_replace(directory, b"a", b"b")
        with pytest.raises(FileNotFoundError):
            linux.rename_no_replace(directory, b"c", b"d")
    finally:
        os.close(directory)


async def test_a_root_that_is_not_there_is_told_before_and_at_the_start(tmp_path: Path) -> None:
    handler = file_handlers(run_directly)({"roots": [str(tmp_path / "none")]}, "file")
    assert "is not a folder" in handler.check()[0]
    with pytest.raises(OSError, match="is not a folder"):
        await handler.start()


async def test_a_root_behind_a_link_has_its_real_path_in_the_target(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "alias").symlink_to("real")
    async with file_handler(tmp_path / "alias") as handler:
        real = os.path.realpath(tmp_path / "real")
        assert handler.canonical_target({"path": "x"}) == f"file:{real}/x"
        assert handler.canonical_target({"path": str(tmp_path / "alias" / "x")}) == f"file:{real}/x"


async def test_roots_that_are_nested_once_links_are_resolved_are_refused(tmp_path: Path) -> None:
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    (tmp_path / "alias").symlink_to("outer/inner")
    roots = [str(tmp_path / "outer"), str(tmp_path / "alias")]
    with pytest.raises(ValueError, match="lies within"):
        await file_handlers(run_directly)({"roots": roots}, "file").start()


async def test_many_files_of_one_root_are_removed_from_many_threads_at_once(root: Path) -> None:
    count = 200
    for number in range(count):
        (root / "uploads" / str(number)).write_text(str(number))
    handler = file_handlers(asyncio.to_thread)({"roots": [str(root)]}, "file")
    await handler.start()
    try:
        results = await asyncio.gather(*(clean_own(handler, number, token=1_000 - number) for number in range(count)))
    finally:
        await handler.stop()
    assert results == [CleanupResult.done()] * count
    assert names_in(root) == {"uploads"}


async def clean_own(handler: FileHandler, number: int, token: int) -> CleanupResult:
    """As the executor does: a resource of its own, hence an idempotency key of its own."""
    parameters = {"path": f"uploads/{number}"}
    identity = await handler.observe(parameters)
    return await handler.clean(call_of(handler, parameters, token=token, identity=identity, resource=str(number)))
