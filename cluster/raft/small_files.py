"""The small files in a replica's folder, beside the log: each is whole, as it is or as it was.

Each holds a checksum of what it says, at a place where versions that know of none read over it; a file of theirs has none,
and is believed. Without it a byte that has rotted could name another node, or another disk, and still be JSON.

Invariants: what the disk refuses is DiskFailed, and the end of the node. Threads: any, one at a time for each file.
"""

from pathlib import Path
from zlib import crc32

import msgspec

from garbagetruck.cluster.raft.disk import Disk
from garbagetruck.cluster.raft.errors import JournalDamaged
from garbagetruck.cluster.raft.journal.segments import telling


def read_file(disk: Disk, path: Path) -> bytes | None:
    """All of it; None when there is none. Raises DiskFailed."""
    with telling("reading", path):
        try:
            file = disk.open(path)
        except FileNotFoundError:
            return None
        try:
            return file.read(file.size(), 0)
        finally:
            file.close()


def replace_file(disk: Disk, path: Path, content: bytes) -> None:
    """Have it hold `content`, durably. Raises DiskFailed."""
    temporary = path.with_name(path.name + ".tmp")
    with telling("writing", path):
        if temporary.name in disk.names(path.parent):
            disk.unlink(temporary)
        file = disk.create(temporary)
        try:
            file.write_durably(content, 0)
        finally:
            file.close()
        disk.rename(temporary, path)
        disk.sync_folder(path.parent)


def checksum_of(content: object) -> str:
    """Of what a file says, whatever white space it says it with."""
    return f"{crc32(msgspec.json.encode(content, order='sorted')):08x}"


def verify(path: Path, content: object, checksum: str) -> None:
    """Raises JournalDamaged when `content` is not what `checksum`, if there is one, was taken of."""
    if checksum and checksum != checksum_of(content):
        raise JournalDamaged(path, "what it says is not what its checksum was taken of")
