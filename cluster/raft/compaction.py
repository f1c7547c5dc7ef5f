"""What pysyncobj takes for its serializer: it hears of snapshots here, and does nothing about them itself.

Duty: have pysyncobj drop the beginning of its log when that may go, and go on from a snapshot that is on the disk already.

Invariants: see `Compaction`. Threads: the Raft thread only.
"""

import os
from collections.abc import Sequence
from typing import Any

from pysyncobj import SERIALIZER_STATE
from pysyncobj.node import Node

from garbagetruck.cluster.raft.journal.log import Journal
from garbagetruck.cluster.raft.journal.replay import LogTuple


class Compaction:
    """What pysyncobj takes for its serializer, and for the name of its dump (hazards 18 and 19).

    Snapshots are taken, sent and received elsewhere, and are durable before pysyncobj hears of them. So this never
    forks, blocks, opens or renames anything, and always says that it is busy, which keeps pysyncobj from beginning by
    itself; but once for each call of `forget_before`.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._snapshot: tuple[LogTuple, LogTuple] | None = None
        self._voters: Sequence[Node] = ()
        self._forget_before: int | None = None

    def go_on_from(self, previous: LogTuple, last: LogTuple, voters: Sequence[Node] = ()) -> None:
        """The next time that pysyncobj loads a dump, it is the one with these last two entries, and these voters."""
        self._snapshot = (previous, last)
        self._voters = voters

    def forget_before(self, index: int) -> None:
        """A durable snapshot holds what the log has before `index`: pysyncobj shall let go of it in its next tick."""
        self._forget_before = index

    def __fspath__(self) -> str:
        """Name a file when there is a snapshot: pysyncobj asks the file system, and does not open it."""
        return os.devnull if self._snapshot is None else __file__

    def checkSerializing(self) -> tuple[int, int | None]:  # noqa: N802  # pysyncobj's name
        index, self._forget_before = self._forget_before, None
        return (SERIALIZER_STATE.SERIALIZING if index is None else SERIALIZER_STATE.SUCCESS), index

    def deserialize(self) -> tuple[None, list[Any], list[Any], Sequence[Node]]:
        """Lists, which equal no entry of the log: so pysyncobj always puts them into it, where they are already."""
        assert self._snapshot is not None
        previous, last = self._snapshot
        self._journal.expect_reload(previous, last)
        return None, list(last), list(previous), self._voters

    def getTransmissionData(self, _node: Node) -> None:  # noqa: N802  # pysyncobj's name
        """Nothing: the transport sees to it that the node gets one."""

    def setTransmissionData(self, arrived: bool) -> bool:  # noqa: N802  # pysyncobj's name
        return arrived

    def cancelTransmisstion(self, _node: Node) -> None:  # noqa: N802  # pysyncobj's name
        """Nothing: the transport knows who is connected."""
