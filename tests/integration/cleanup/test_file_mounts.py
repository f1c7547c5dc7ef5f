"""The `file` handler and real mounts: whatever is mounted below its root is neither entered nor removed (I1).

Skipped, with the reason, where nothing can be mounted: that takes root, and a container may forbid it all the same.
"""

# ruff: noqa: ASYNC240 - the loop has nothing else to do while a test looks at its files, or mounts

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from garbagetruck.cluster.cleanup.handler import CleanupResult, ObservationError, Verdict
from garbagetruck.cluster.cleanup.handlers.file import FileHandler, linux
from tests.integration.cleanup.calls import call_of, clean, file_handler, names_in

HERE = {"path": "uploads/42"}
TREE = {"path": "uploads/tree"}
ELSEWHERE = r"lies on another device than its root, or is a mount point"


class Mounts:
    """What a test mounts below its folder; `take_down` leaves nothing of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def memory(self, point: Path) -> None:
        """Another device."""
        self._mount("-t", "tmpfs", "-o", "size=16m", "tmpfs", str(point))

    def bind(self, source: Path, point: Path) -> None:
        """Another place of the same device, whose number does not tell."""
        self._mount("--bind", str(source), str(point))

    def unmount(self, point: Path) -> None:
        # At once, although a handler keeps its fence open there.
        subprocess.run(["umount", "--lazy", str(point)], check=True, capture_output=True)

    def take_down(self) -> None:
        """The last first, wherever they are by now: a folder that was renamed took its mount along."""
        points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for point in reversed(points):
            if Path(point).is_relative_to(self._folder):
                self.unmount(Path(point))

    def _mount(self, *arguments: str) -> None:
        done = subprocess.run(["mount", *arguments], check=False, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[Mounts]:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root may mount, and only where there is `mount`")
    mounts = Mounts(tmp_path.resolve())
    try:
        yield mounts
    finally:
        mounts.take_down()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    (path / "uploads" / "tree" / "below").mkdir(parents=True)
    (path / "uploads" / "42").write_text("an image")
    (path / "uploads" / "tree" / "first").write_text("one")
    return path


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A folder on the root's own device, and outside of it."""
    path = tmp_path / "other"
    path.mkdir()
    (path / "42").write_text("somebody's")
    return path


@pytest.fixture
async def handler(root: Path) -> AsyncIterator[FileHandler]:
    async with file_handler(root, directories=True) as started:
        yield started


def mount(mounts: Mounts, kind: str, point: Path, other: Path) -> Path:
    """Mount over a folder, and return a file in what was mounted."""
    if kind == "memory":
        mounts.memory(point)
        (point / "42").write_text("somebody's")
    else:
        if not linux.has_openat2():
            pytest.skip("this kernel has no openat2, without which a bind mount is not told from a folder")
        mounts.bind(other, point)
    return point / "42"


@pytest.mark.parametrize("kind", ["memory", "bind"])
async def test_i1_what_is_mounted_on_the_way_is_not_entered(
    handler: FileHandler, root: Path, mounts: Mounts, other: Path, kind: str
) -> None:
    mounted = mount(mounts, kind, root / "uploads", other)
    with pytest.raises(ObservationError, match=ELSEWHERE) as caught:
        await handler.observe(HERE)
    assert not caught.value.retryable
    result = await handler.clean(call_of(handler, HERE, identity="anything"))
    assert (result.verdict, result.retryable) == (Verdict.FAILED, False)
    assert mounted.read_text() == "somebody's"


@pytest.mark.parametrize("kind", ["memory", "bind"])
async def test_i1_a_mount_that_appears_between_claim_and_deletion_is_not_entered(
    handler: FileHandler, root: Path, mounts: Mounts, other: Path, kind: str
) -> None:
    call = call_of(handler, HERE, identity=await handler.observe(HERE))
    mounted = mount(mounts, kind, root / "uploads", other)
    result = await handler.clean(call)
    assert (result.verdict, result.retryable) == (Verdict.FAILED, False)
    assert "is a mount point" in result.error
    assert mounted.read_text() == "somebody's"
    mounts.unmount(root / "uploads")
    assert (root / "uploads" / "42").read_text() == "an image"
    assert await clean(handler, "uploads/42", attempt=2) == CleanupResult.done()


async def test_i1_a_file_that_is_a_mount_point_is_not_removed(
    handler: FileHandler, root: Path, mounts: Mounts, other: Path
) -> None:
    """The kernel renames no mount point."""
    mounts.bind(other / "42", root / "uploads" / "42")
    result = await clean(handler, "uploads/42")
    assert result.verdict is Verdict.FAILED
    assert (root / "uploads" / "42").read_text() == "somebody's"
    mounts.unmount(root / "uploads" / "42")
    assert (root / "uploads" / "42").read_text() == "an image"


async def test_i1_a_file_of_another_device_is_not_removed(
    handler: FileHandler, root: Path, mounts: Mounts, tmp_path: Path
) -> None:
    (tmp_path / "memory").mkdir()
    mounts.memory(tmp_path / "memory")
    (tmp_path / "memory" / "42").write_text("somebody's")
    mounts.bind(tmp_path / "memory" / "42", root / "uploads" / "42")
    with pytest.raises(ObservationError, match=ELSEWHERE):
        await handler.observe(HERE)
    assert (root / "uploads" / "42").read_text() == "somebody's"


@pytest.mark.parametrize("kind", ["memory", "bind"])
@pytest.mark.parametrize("place", ["", "below"])
async def test_i1_a_directory_that_is_or_holds_a_mount_point_is_left_whole(
    handler: FileHandler, root: Path, mounts: Mounts, other: Path, kind: str, place: str
) -> None:
    identity = await handler.observe(TREE)
    mounted = mount(mounts, kind, root / "uploads" / "tree" / place, other)
    before = names_in(root)
    result = await handler.clean(call_of(handler, TREE, identity=identity))
    assert (result.verdict, result.retryable) == (Verdict.FAILED, False)
    assert "is a mount point" in result.error
    assert names_in(root) == before
    assert mounted.read_text() == "somebody's"


@pytest.mark.parametrize("kind", ["memory", "bind"])
async def test_i1_a_mount_that_appears_in_a_directory_while_it_is_removed_keeps_what_is_in_it(
    handler: FileHandler, root: Path, mounts: Mounts, other: Path, kind: str
) -> None:
    """The handler asks whether it may go on after it looked through the directory, and before it renames it."""
    identity = await handler.observe(TREE)
    mounted: list[Path] = []

    def asked() -> bool:
        if not mounted:
            mounted.append(mount(mounts, kind, root / "uploads" / "tree" / "below", other))
        return True

    result = await handler.clean(call_of(handler, TREE, identity=identity, still_leading=asked))
    assert mounted
    assert (result.verdict, result.retryable) == (Verdict.FAILED, False)
    assert "is a mount point" in result.error
    (kept,) = root.rglob("below/42")
    assert kept.read_text() == "somebody's"
    assert "below/42" in str(kept)


async def test_a_root_that_is_unmounted_is_not_taken_for_empty(mounts: Mounts, tmp_path: Path) -> None:
    root, aside = tmp_path / "disk", tmp_path / "aside"
    root.mkdir()
    aside.mkdir()
    mounts.memory(root)
    mounts.bind(root, aside)
    (root / "42").write_text("an image")
    async with file_handler(root) as handler:
        call = call_of(handler, {"path": "42"}, identity=await handler.observe({"path": "42"}))
        mounts.unmount(root)
        with pytest.raises(ObservationError, match="was it unmounted or replaced"):
            await handler.observe({"path": "42"})
        result = await handler.clean(call)
        assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
        assert (aside / "42").read_text() == "an image"
        mounts.bind(aside, root)
        result = await handler.clean(call)
        assert result == CleanupResult.done(), result.error
    assert names_in(aside) == set()
