"""One round of asking a majority whether it still follows this leader.

Duty: count the echoes to one probe. Why it proves anything: a follower echoes only while the probe's term is its own
and the sender its leader. Had another leader been elected before the probe was sent, a majority would have been in a
higher term by then, and at least one of that majority is needed here, which would not have echoed.

That holds while the voters change, too: of two configurations that follow each other any two majorities have a node in
common, and a leader applies a change before it proposes another.

Pure. Must not know: connections, threads, the clock.
"""

from garbagetruck.cluster.raft.voters import Voters


class EchoRound:
    """The echoes to the probe (`term`, `sequence`), sent when `commit_index` was committed.

    Those of `voters` count, as they are at the moment, connected or not; the leader counts as one echo.
    """

    def __init__(self, *, term: int, sequence: int, commit_index: int, voters: Voters) -> None:
        self.term = term
        self.sequence = sequence
        self.commit_index = commit_index
        self._voters = voters
        self._echoed: set[str] = set()

    def echo(self, node_id: str, *, term: int, sequence: int) -> None:
        """Count an echo, once for each peer, if it answers this very probe."""
        if term == self.term and sequence == self.sequence:
            self._echoed.add(node_id)

    @property
    def silent(self) -> frozenset[str]:
        """The voters that have not answered yet, to be asked again."""
        return self._voters.others - self._echoed

    @property
    def confirmed(self) -> bool:
        return self._voters.is_majority(self._echoed)
