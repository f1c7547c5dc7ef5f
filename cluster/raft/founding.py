"""How the log of a folder began: with whom, whether this node was one of them, and which of several such logs it is.

Duty: keep that in one small JSON file, `founding.json`, written before anything else is in the folder. What a configuration says
later about members changes nothing: the log does. Two things are added, each once: the log's origin, when its first entry is
applied; and who refuted that this folder founds anything (`origin`).

Threads: the Raft thread only.
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from garbagetruck.cluster.raft.disk import Disk
from garbagetruck.cluster.raft.errors import JournalDamaged
from garbagetruck.cluster.raft.small_files import checksum_of, read_file, replace_file, verify


class Founding(msgspec.Struct, frozen=True):
    """The voters before the first entry of the log."""

    voters: list[str]
    is_founder: bool
    """Whether this node is one of them. One that joins only knows what it was told: it counts no votes by that."""
    origin: str = ""
    """A digest of the first entry that was applied; empty as long as none was, or where it was compacted away before."""
    refuted_by: str = ""
    """The peer that knows this founder by another disk, with a log: nothing is founded from here."""
    checksum: str = ""
    """Of the rest, in the file only."""

    @property
    def mark(self) -> str:
        """What founders have in common: a digest of their names. Empty for a node that joins."""
        names = msgspec.json.encode(sorted(self.voters))
        return hashlib.blake2b(names, digest_size=8).hexdigest() if self.is_founder else ""


def found(
    disk: Disk, folder: Path, *, node_id: str, told: Iterable[str], founders: Sequence[str] | None, has_log: bool
) -> Founding:
    """What was stored in `folder`, or what is from now on: `founders`, or with None, `told` without this node.

    A folder with a log and without this file was made before members could change: they were those that it is `told`.
    Raises JournalDamaged, DiskFailed, and ValueError when the founders are not this node and others.
    """
    path = folder / "founding.json"
    content = read_file(disk, path)
    try:
        if content is not None:
            stored = msgspec.json.decode(content, type=Founding)
            founding = replace(stored, checksum="")
            verify(path, founding, stored.checksum)
            return founding
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise JournalDamaged(path, str(error)) from error
    if has_log:
        founders = [*told]
    if founders is not None and node_id not in founders:
        raise ValueError(f"the founders of a log, {[*founders]}, do not include the node that begins it, {node_id}")
    founding = (
        Founding(sorted({*told} - {node_id}), is_founder=False)
        if founders is None
        else Founding(sorted(founders), is_founder=True)
    )
    store(disk, folder, founding)
    return founding


def store(disk: Disk, folder: Path, founding: Founding) -> None:
    """Raises DiskFailed."""
    stored = replace(founding, checksum=checksum_of(founding))
    replace_file(disk, folder / "founding.json", msgspec.json.format(msgspec.json.encode(stored)))
