"""The way from a root to a thing below it, through descriptors only.

Duty: open a root and the folder that holds a thing, look at the thing, and empty a directory.
Invariants: no symbolic link is followed, at any step; no step leaves the root's device, nor, where the kernel can tell
(linux.py), its mount; every descriptor is closed. What was checked by descriptor cannot be exchanged under its path.
Must not know: claims, tokens, tombstones.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator

from garbagetruck.cluster.cleanup.handlers.file.linux import open_directory
from garbagetruck.cluster.cleanup.handlers.file.sighting import type_of

DEPTH_MAX = 100
"""How deep a directory may be nested that is removed: each level keeps a descriptor open."""

RootIdentity = tuple[int, int]
"""(device, inode) of a root, as found when its handler started."""


class ForbiddenError(Exception):
    """What was found on the way must not be touched or passed; trying again changes nothing. `str()` says what."""


class RootChangedError(Exception):
    """The root's path leads elsewhere than when the handler started: unmounted, or replaced."""


class StoppedError(Exception):
    """The attempt may not proceed: its time is over, or this node does not lead any more."""


def device_of(status: os.stat_result) -> int:
    """The device that a thing lies on."""
    return status.st_dev


def identify_root(path: str) -> RootIdentity:
    """Look at a root. Raises `OSError` when it is no directory."""
    descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return device_of(status), status.st_ino


@contextlib.contextmanager
def opened_parent(root: str, expected: RootIdentity, parents: tuple[bytes, ...]) -> Iterator[int | None]:
    """Open the folder below `root` that `parents` lead to; None when it does not exist.

    Raises `RootChangedError`, `ForbiddenError`, `OSError`.
    """
    descriptor: int | None
    try:
        descriptor = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        message = f"the root {root} is not there any more"
        raise RootChangedError(message) from error
    try:
        status = os.fstat(descriptor)
        if (device_of(status), status.st_ino) != expected:
            message = f"the root {root} is another folder than when this node started: was it unmounted or replaced?"
            raise RootChangedError(message)
        for name in parents:
            below = _step(descriptor, name, expected[0])
            os.close(descriptor)
            descriptor = below
            if descriptor is None:
                break
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _step(directory: int, name: bytes, device: int) -> int | None:
    try:
        below = open_directory(directory, name)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        found = look(directory, name)
        if found is not None and stat.S_ISLNK(found.st_mode):
            message = f"{_shown(name)} on the way is a symbolic link; links are never followed"
            raise ForbiddenError(message) from None
        return None  # below a file there is nothing
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise ForbiddenError(_elsewhere(name)) from None
        raise
    if device_of(os.fstat(below)) != device:
        os.close(below)
        raise ForbiddenError(_elsewhere(name))
    return below


def look(directory: int, name: bytes) -> os.stat_result | None:
    """Look at a thing in a folder without following it; None when there is none."""
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def check_removable(status: os.stat_result, name: bytes, device: int, *, directories: bool) -> None:
    """Raise `ForbiddenError` unless the thing is a file, or a directory where `directories` allows it."""
    if device_of(status) != device:
        raise ForbiddenError(_elsewhere(name))
    if stat.S_ISDIR(status.st_mode):
        if not directories:
            message = f"{_shown(name)} is a directory, and this handler removes files only (option `directories`)"
            raise ForbiddenError(message)
    elif not stat.S_ISREG(status.st_mode):
        message = f"{_shown(name)} is a {type_of(status)}; only files and directories are removed"
        raise ForbiddenError(message)


def check_tree(directory: int, name: bytes, device: int, depth: int = 0) -> None:
    """Walk through a directory and change nothing. Raises `ForbiddenError` if it could not be removed whole."""
    with _opened_to_list(directory, name, device, depth) as descriptor, os.scandir(descriptor) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                check_tree(descriptor, os.fsencode(entry.name), device, depth + 1)


def empty_tree(directory: int, name: bytes, inode: int, device: int, may_proceed: Callable[[], bool]) -> None:
    """Remove all that is in a directory, but not the directory. Links in it are removed, not followed.

    `inode` is that of the directory to empty; another one is left alone. Asks `may_proceed` before each removal. Raises
    `StoppedError`, `ForbiddenError`, `OSError`; what was removed by then stays removed.
    """
    with _opened_to_list(directory, name, device, 0) as descriptor:
        if os.fstat(descriptor).st_ino == inode:
            _empty(descriptor, device, may_proceed, 1)


def _empty(directory: int, device: int, may_proceed: Callable[[], bool], depth: int) -> None:
    with os.scandir(directory) as entries:
        for entry in entries:
            name = os.fsencode(entry.name)
            is_directory = entry.is_dir(follow_symlinks=False)
            if is_directory:
                with _opened_to_list(directory, name, device, depth) as below:
                    _empty(below, device, may_proceed, depth + 1)
            if not may_proceed():
                raise StoppedError
            with contextlib.suppress(FileNotFoundError):  # an earlier attempt may still be at it
                if is_directory:
                    os.rmdir(name, dir_fd=directory)
                else:
                    os.unlink(name, dir_fd=directory)


@contextlib.contextmanager
def _opened_to_list(directory: int, name: bytes, device: int, depth: int) -> Iterator[int]:
    if depth > DEPTH_MAX:
        message = f"it holds directories nested deeper than {DEPTH_MAX} levels"
        raise ForbiddenError(message)
    try:
        descriptor = open_directory(directory, name, to_list=True)
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise ForbiddenError(_elsewhere(name)) from None
        raise
    try:
        if device_of(os.fstat(descriptor)) != device:
            raise ForbiddenError(_elsewhere(name))
        yield descriptor
    finally:
        os.close(descriptor)


def _elsewhere(name: bytes) -> str:
    return f"{_shown(name)} lies on another device than its root, or is a mount point; those are never entered"


def _shown(name: bytes) -> str:
    return repr(os.fsdecode(name))
