"""Damage to what a dead node's disk holds.

Duty: `kill -9`, turn over bits in files, start again, and see how the node ends. Invariant: only the files of a node that has ended
are touched. `heal` does nothing to a node that refused: who damages it replaces it.
Must not know: what the files hold.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from typing_extensions import override

from garbagetruck.chaos.faults.fault import Fault
from garbagetruck.chaos.processes.cluster import Cluster

REFUSES_S_MAX = 20.0
FLIPPED = 0xFF

Choice = Callable[[Path], Sequence[Path]]
"""Files of a data folder."""


class Damage(Fault):
    """One byte in the middle of each chosen file is another."""

    def __init__(self, node_id: str, what: str, choose: Choice, *, refuses: bool) -> None:
        """`refuses`: whether the node must not serve, so that its end is waited for."""
        self.name = f"{what} of {node_id} is damaged"
        self.code: int | None = None
        self.said = ""
        self._node_id = node_id
        self._choose = choose
        self._refuses = refuses
        self._damaged: list[str] = []

    @override
    async def inject(self, cluster: Cluster) -> None:
        node = cluster.nodes[self._node_id]
        await cluster.kill([self._node_id])
        for path in self._choose(node.data_dir):
            offset = await asyncio.to_thread(flip, path)
            self._damaged.append(f"byte {offset} of {path.name}")
        await cluster.start(self._node_id)
        if not self._refuses:
            return
        try:
            self.code = await node.ended(REFUSES_S_MAX)
        except TimeoutError:
            return
        self.said = node.said("storage_refused")

    @override
    async def heal(self, cluster: Cluster) -> None:
        """A disk does not heal."""

    @property
    @override
    def proof(self) -> str:
        return f"{', '.join(self._damaged)} turned over" if self._damaged else ""


def flip(path: Path) -> int:
    """Turn over the byte in the middle of what was written to a file; answers its offset."""
    content = path.read_bytes()
    offset = len(content.rstrip(b"\0")) // 2
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(bytes([content[offset] ^ FLIPPED]))
    return offset


def newest_segment(data_dir: Path) -> Sequence[Path]:
    return sorted((data_dir / "raft/journal").glob("*.seg"))[-1:]


def snapshots(data_dir: Path) -> Sequence[Path]:
    """The newest last."""
    return sorted((data_dir / "raft/snapshots").glob("*.snap"))


def log_begins_late(data_dir: Path) -> bool:
    """Whether the journal's first file is gone, so that nothing can be made of it without a snapshot."""
    return not any((data_dir / "raft/journal").glob("0000000001-*.seg"))


def newest_snapshot(data_dir: Path) -> Sequence[Path]:
    return snapshots(data_dir)[-1:]
