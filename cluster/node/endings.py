"""Why a node must end though nothing in it crashed: what it was given, or what it has become.

Duty: each such end as an exception whose text is the node's last line: what is wrong, where, and what an operator does.
Invariants: nothing of a secret or of a client is in a text. Must not know: how a process ends (`lifecycle`).
"""

from zlib import crc32

from garbagetruck.cluster.machine.codec import FormatTooNew
from garbagetruck.cluster.node.config.skips import SkippedEntry


class EntryTooNew(Exception):
    """The log has an entry that needs a higher feature level than this node has."""

    def __init__(self, index: int, error: FormatTooNew) -> None:
        super().__init__(
            f"entry {index} of the log is too new: {error}. The node ends before it, for it would have to guess. To go on, "
            f"{error.remedy}"
        )
        self.index = index


class EntryNotApplied(Exception):
    """The machine could not apply an entry. That is a bug; the text names what gets past it."""

    def __init__(self, index: int, payload: bytes, error: BaseException) -> None:
        self.index = index
        self.skip = SkippedEntry(index, crc32(payload))
        super().__init__(
            f"entry {index} of the log cannot be applied: {type(error).__name__}: {error}. The node ends before it. If every"
            f" node ends there, and again at each start, read docs/consensus.md, then set on all of them"
            f' node.skip_entries = ["{self.skip}"]'
        )


class StateDiverged(Exception):
    """Most nodes have another state than this one, at the same entry of the same log (I3)."""

    def __init__(self, *, node_id: str, index: int, own: int, right: int, agreeing: tuple[str, ...]) -> None:
        super().__init__(
            f"the state of {node_id} behind entry {index} has the digest {own:016x}, and that of the others, "
            f"{', '.join(agreeing)}, has {right:016x}: this node cannot be trusted. It ends, and cleanups stay paused until"
            " `cleanup resume --all-namespaces`. Keep a copy of its folder, and bring the node back with an empty one while the others are up"
        )
        self.index = index
