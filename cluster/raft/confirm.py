"""One round of asking a majority whether it still follows this leader.

Duty: count the echoes to one probe. Why it proves anything: a follower echoes only while the probe's term is its own
and the sender its leader. Had another leader been elected before the probe was sent, a majority would have been in a
higher term by then, and at least one of that majority is needed here, which would not have echoed.

Pure. Must not know: connections, threads, the clock.
"""


class EchoRound:
    """The echoes to the probe (`term`, `sequence`), sent when `commit_index` was committed.

    `peers` are all other voters of the cluster, connected or not; the leader counts as one echo.
    """

    def __init__(self, *, term: int, sequence: int, commit_index: int, peers: frozenset[str]) -> None:
        self.term = term
        self.sequence = sequence
        self.commit_index = commit_index
        self._peers = peers
        self._echoed: set[str] = set()

    def echo(self, node_id: str, *, term: int, sequence: int) -> None:
        """Count an echo, once for each peer, if it answers this very probe."""
        if node_id in self._peers and term == self.term and sequence == self.sequence:
            self._echoed.add(node_id)

    @property
    def silent(self) -> frozenset[str]:
        """The peers that have not answered yet, to be asked again."""
        return self._peers - self._echoed

    @property
    def confirmed(self) -> bool:
        voters = len(self._peers) + 1
        return (len(self._echoed) + 1) * 2 > voters
