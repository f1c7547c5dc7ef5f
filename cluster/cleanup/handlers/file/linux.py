"""The two system calls of Linux that the file handler needs and Python does not have.

Duty: `renameat2` with `RENAME_NOREPLACE` (Linux 3.15, glibc 2.28) and `openat2` with `RESOLVE_NO_XDEV` (Linux 5.6).
Where the kernel, a seccomp filter or the file system has not got one, a fallback of plain calls stands in:

- `rename_no_replace` looks whether the new name is free, then renames. What is created under the new name between the
  two is overwritten. The handler's new names are tombstones, which only it makes, under its lock; in the other
  direction (putting back what it should not have taken) the window is there, a few microseconds long.
- `open_directory` opens without `RESOLVE_NO_XDEV`. Another device is still seen by its number; a bind mount of the
  same device is not.

Must not know: what is being deleted.
"""

import ctypes
import errno
import functools
import os
from collections.abc import Callable

_RENAME_NOREPLACE = 1
_SYSCALL_OPENAT2 = 437  # the same number on every architecture
_RESOLVE_NO_XDEV = 0x01
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
_UNSUPPORTED = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP})

_AT_FDCWD = -100
_DIRECTORY_FLAGS = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class _OpenHow(ctypes.Structure):
    """`struct open_how` of openat2(2)."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


@functools.cache
def _renameat2() -> Callable[..., int] | None:
    call: Callable[..., int] | None = getattr(_libc(), "renameat2", None)
    return call


def rename_no_replace(directory: int, old: bytes, new: bytes) -> None:
    """Rename within one directory; raise `FileExistsError` when `new` exists, `FileNotFoundError` when `old` does not.

    `directory` is a descriptor; both are names without a slash.
    """
    call = _renameat2()
    if call is not None:
        if call(directory, old, directory, new, _RENAME_NOREPLACE) == 0:
            return
        number = ctypes.get_errno()
        if number not in _UNSUPPORTED:
            raise OSError(number, os.strerror(number), old, None, new)
    _rename_if_free(directory, old, new)


def _rename_if_free(directory: int, old: bytes, new: bytes) -> None:
    try:
        os.stat(new, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        os.rename(old, new, src_dir_fd=directory, dst_dir_fd=directory)
        return
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), old, None, new)


@functools.cache
def has_openat2() -> bool:
    """Whether this process may call openat2: an older kernel has not got it, a container's filter may forbid it."""
    descriptor = _openat2(_AT_FDCWD, b".", os.O_PATH | _DIRECTORY_FLAGS)
    if descriptor < 0:
        return False
    os.close(descriptor)
    return True


def _openat2(directory: int, name: bytes, flags: int) -> int:
    how = _OpenHow(flags, 0, _RESOLVE_NO_XDEV | _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_SYMLINKS | _RESOLVE_BENEATH)
    descriptor: int = _libc().syscall(_SYSCALL_OPENAT2, directory, name, ctypes.byref(how), ctypes.sizeof(how))
    return descriptor


def open_directory(directory: int, name: bytes, *, to_list: bool = False) -> int:
    """Open the directory `name` of `directory`; the caller closes the descriptor.

    Without `to_list` the descriptor serves to walk on only, which needs no permission to read. Raises
    `FileNotFoundError`; `NotADirectoryError` for anything else than a directory, a symbolic link included; `OSError`
    with `EXDEV` for a mount point.
    """
    flags = _DIRECTORY_FLAGS | (os.O_RDONLY if to_list else os.O_PATH)
    if not has_openat2():
        return os.open(name, flags, dir_fd=directory)
    descriptor = _openat2(directory, name, flags)
    if descriptor < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
    return descriptor
