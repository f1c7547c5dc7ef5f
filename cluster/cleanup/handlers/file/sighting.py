"""What a thing on disk looks like: enough to tell whether it is still the same one.

Duty: turn a `stat` result into the identity that a claim commits, and into the fingerprint by which a later attempt
recognises what an earlier one has renamed.

The identity is `device:inode:size:mtime_ns:ctime_ns:type`. Inodes are reused at once by most file systems, and size and
mtime can be the same for a copy that keeps times; ctime cannot be set, so it tells a re-created file from the old one
even then. Renaming changes ctime, so what is compared after a rename leaves it out. A directory that is being emptied
changes size and mtime as well: its fingerprint is device and inode, which nothing else can have while it exists.

Must not know: paths, what is done with the thing.
"""

import hashlib
import os
import stat

FINGERPRINT_BYTES = 8
_TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symbolic link",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFBLK: "block device",
    stat.S_IFCHR: "character device",
}


def type_of(status: os.stat_result) -> str:
    """What kind of thing it is, in a word."""
    return _TYPES.get(stat.S_IFMT(status.st_mode), "unknown")


def identity(status: os.stat_result) -> str:
    """The text that a claim commits."""
    return (
        f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}:{type_of(status)}"
    )


def is_same_after_rename(before: os.stat_result, after: os.stat_result) -> bool:
    """Whether a rename moved the thing that was looked at before it."""
    return _lasting(before) == _lasting(after)


def fingerprint(status: os.stat_result) -> bytes:
    """`FINGERPRINT_BYTES` that stay the same while a file, or a directory being emptied, waits as a tombstone."""
    directory = stat.S_ISDIR(status.st_mode)
    parts = (status.st_dev, status.st_ino, type_of(status)) if directory else _lasting(status)
    return hashlib.blake2b(repr(parts).encode(), digest_size=FINGERPRINT_BYTES).digest()


def _lasting(status: os.stat_result) -> tuple[int, int, int, int, str]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, type_of(status))
