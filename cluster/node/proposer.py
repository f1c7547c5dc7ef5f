"""The batches of one process: numbered, named, encoded, proposed.

Duty: give each batch of this process a `(proposer, sequence)` that no other batch of the cluster ever had, so that
`apply` on this node tells which of them was decided (pysyncobj's callbacks are never used: DESIGN section 6, 16).
Invariant: the proposer's name is drawn anew at every start, so that a process which hears the history again never
takes a batch of its predecessor for its own.
Must not know: what the operations mean, who waits for them.
"""

import random
from collections.abc import Sequence

from garbagetruck.cluster.machine.codec import encode_batch
from garbagetruck.cluster.machine.features import format_of
from garbagetruck.cluster.machine.operations import Batch, Operation
from garbagetruck.cluster.raft.log import ReplicatedLog

PROPOSER_BITS = 64


class Proposer:
    """Proposes batches in the name of this process. Runs on the node's main loop.

    `random` is drawn from once, here; in production it is a `random.SystemRandom`.
    """

    def __init__(self, *, node_id: str, log: ReplicatedLog, random: random.Random) -> None:
        self.id = f"{node_id}-{random.getrandbits(PROPOSER_BITS):016x}"
        self._log = log
        self._sequence = 0

    def propose(self, *, epoch: int, at_ms: int, operations: Sequence[Operation]) -> int:
        """Propose one batch in term `epoch`, stamped `at_ms` of cluster time; the answer is its sequence.

        Raises `RaftError` when the log did not take it: then it never enters the history.
        """
        sequence = self._sequence + 1
        batch = Batch(format_of(operations), epoch, at_ms, self.id, sequence, tuple(operations))
        self._log.propose(encode_batch(batch), term=epoch)
        self._sequence = sequence
        return sequence
