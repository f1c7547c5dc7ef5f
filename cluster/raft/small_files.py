"""The small files in a replica's folder, beside the log: each is whole, as it is or as it was.

Invariants: what the disk refuses is DiskFailed, and the end of the node. Threads: any, one at a time for each file.
"""

from pathlib import Path

from garbagetruck.cluster.raft.disk import Disk
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
