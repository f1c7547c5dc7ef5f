"""What nodes say to each other about elections, as far as pysyncobj hears of it.

Duty: answer who asks for a vote, and count votes: those of voters, and nobody's twice. Who does not vote answers all the
same: it may be a voter and not have heard of it yet, and a candidate that knows may need it. Nobody who does not know it as
a voter asks it, or counts what it says.

Threads: the Raft thread only.
"""

from collections.abc import Callable

from garbagetruck.cluster.raft import wire
from garbagetruck.cluster.raft.election import Election, Standing
from garbagetruck.cluster.raft.frames import Frame
from garbagetruck.cluster.raft.log import Role
from garbagetruck.cluster.raft.refusals import Refusals
from garbagetruck.cluster.raft.seams import Consensus


class Ballot:
    """`standing` is this node's own at the moment; `say` sends a message to a peer, `deliver` gives one of a peer to pysyncobj."""

    def __init__(
        self,
        *,
        consensus: Consensus,
        election: Election,
        refusals: Refusals,
        standing: Callable[[], Standing],
        say: Callable[[str, wire.Message], None],
        deliver: Callable[[str, wire.RaftMessage], None],
    ) -> None:
        self._consensus = consensus
        self._election = election
        self._refusals = refusals
        self._standing = standing
        self._say = say
        self._deliver = deliver
        self._voted: tuple[int, set[str]] = (0, set())
        """Whose vote was counted, in which term."""

    def hear(self, peer_id: str, message: Frame) -> None:
        """What a peer says about an election."""
        consensus, election = self._consensus, self._election
        match message:
            case wire.PreVote():
                self._say(peer_id, election.answer(peer_id, message, self._standing()))
            case wire.PreVoteAnswer():
                election.answered(peer_id, message)
                if message.term > consensus.term:
                    consensus.learn_term(message.term)
                    election.hurry()
            case wire.RequestVote():
                if message.transfer or (consensus.role is not Role.LEADER and not election.sticks(peer_id)):
                    self._deliver(peer_id, message)
                else:
                    self._refusals.counts["vote asked for while a leader is heard"] += 1  # no news in an election
            case wire.Vote():
                self._on_vote(peer_id, message)
            case wire.TimeoutNow():
                if election.asked_to_stand(peer_id, message.term, self._standing()):
                    consensus.stand()
            case _:
                raise AssertionError(f"sessions pass on {message!r}")

    def _on_vote(self, peer_id: str, message: wire.Vote) -> None:
        term, voted = self._voted
        if message.term != term:
            term, voted = self._voted = (message.term, set())
        if peer_id in voted:
            self._refusals.refuse("second vote", peer_id)
        elif peer_id not in self._consensus.voters.others:
            self._refusals.refuse("vote of a node that does not vote", peer_id)
        else:
            voted.add(peer_id)
            self._deliver(peer_id, message)
