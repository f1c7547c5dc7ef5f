"""When a node may stand for election: after its own timer, and a round of asking that says it would win.

pysyncobj 0.3.17 stands as soon as its timer ends and anybody is connected, raising its term as it does; a node that
was stalled or cut off so deposes a healthy leader when it comes back. Its timers are put out of reach (`seams`), and
this decides instead:

- **PreVote** (Ongaro's dissertation, section 9.6): before a node stands it asks whether it would be voted for. Asking
  changes nothing anywhere. Granted only by who has not heard a leader for the minimum timeout, and whose log is no
  further. A round counts for one minimum timeout from its sending, and not once a leader was heard.
- **Stickiness** (section 6 of the paper): who heard a leader within the minimum timeout answers no request for a vote,
  unless that leader itself asked for the election (a transfer).
- Of two that ask at once the one with the further log wins, then the greater id; and who grants lets the other go
  first. So two that miss the same leader rarely split the votes.
- Who waits for its own disk, as one that stood or voted a moment ago may, neither asks nor grants: that election is under
  way, and a further term would end it before its votes are there. Else a disk slower than the timeouts elects nobody.
- A leader whose connection breaks is probably dead: its followers wait for the minimum timeout and a little, instead of
  their random one. Nothing depends on the guess being right: they ask first.

Pure: time and randomness come in. Must not know: connections, pysyncobj.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from garbagetruck.cluster.raft.log import Role
from garbagetruck.cluster.raft.settings import RaftSettings
from garbagetruck.cluster.raft.voters import Voters
from garbagetruck.cluster.raft.wire import PreVote, PreVoteAnswer

_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Standing:
    """What a node is at this moment."""

    role: Role
    term: int
    last_index: int
    last_term: int
    vowed: bool = True
    """Its disk has the term and the vote."""


@dataclass(slots=True)
class _Round:
    term: int
    number: int
    sent_ns: int
    silent: set[str]
    """Who was asked, and has not answered yet."""
    granted: set[str]


class Election:
    """One node's timer and its rounds. Only voters ask, and only voters' answers count."""

    def __init__(
        self,
        *,
        node_id: str,
        voters: Voters,
        settings: RaftSettings,
        random: random.Random,
        monotonic_ns: Callable[[], int],
    ) -> None:
        self._node_id = node_id
        self._voters = voters
        self._settings = settings
        self._random = random
        self._monotonic_ns = monotonic_ns
        self._minimum_ns = settings.election_timeout_ms_min * _NS_PER_MS
        self._maximum_ns = settings.election_timeout_ms_max * _NS_PER_MS
        self._leader: str | None = None
        self._heard_ns = monotonic_ns()
        """When a leader was heard last. A node that starts does as if it had: there may be one."""
        self._deadline_ns = self._heard_ns + self._drawn_ns()
        self._round: _Round | None = None
        self._rounds = 0
        self._gave_way = False
        self._transfer_term: int | None = None

    # --- what happened ----------------------------------------------------------------------------------------------

    def heard(self, leader: str) -> None:
        """A leader of this term, or a later one, was heard."""
        self._leader = leader
        self._heard_ns = self._monotonic_ns()
        self._wait(self._heard_ns)

    def hears(self, leader: str) -> bool:
        """Whether this leader was heard within the longest timeout; if not, it is one that there was."""
        return leader == self._leader and self._monotonic_ns() - self._heard_ns < self._maximum_ns

    def disconnected(self, peer_id: str) -> None:
        """A connection broke."""
        if peer_id == self._leader:
            spread_ns = self._random.random() * self._settings.lost_leader_spread_ms * _NS_PER_MS
            self._deadline_ns = min(self._deadline_ns, self._heard_ns + self._minimum_ns + int(spread_ns))

    def voted(self) -> None:
        """This node gave its vote to another."""
        self._wait(self._monotonic_ns())

    def led(self) -> None:
        """This node leads."""
        self._leader = None
        self._wait(self._monotonic_ns())

    def held_up(self) -> None:
        """This process was stopped for a while: what arrived meanwhile is to be heard before anything is concluded."""
        listen_ns = self._settings.heartbeat_ms * _NS_PER_MS
        self._deadline_ns = max(self._deadline_ns, self._monotonic_ns() + listen_ns)
        self._round = None

    def asked_to_stand(self, leader: str, term: int, now: Standing) -> bool:
        """The leader hands over. True when this node is to stand at once, without asking."""
        if leader != self._leader or term != now.term or now.role is not Role.FOLLOWER or not self._voters.votes:
            return False
        self._transfer_term = term + 1
        return True

    def is_transfer(self, term: int) -> bool:
        """Whether the election of `term` is one that the former leader asked this node for."""
        return term == self._transfer_term

    # --- this node asks ---------------------------------------------------------------------------------------------

    def ask(self, now: Standing, reachable: frozenset[str]) -> PreVote | None:
        """What to ask the voters who are `reachable`, when it is time. Too few of them are not asked at all."""
        now_ns = self._monotonic_ns()
        if now.role is Role.LEADER or not now.vowed or now_ns < self._deadline_ns:
            return None
        if not self._voters.is_majority(reachable):
            return None
        self._wait(now_ns)
        self._rounds += 1
        self._round = _Round(now.term, self._rounds, now_ns, set(reachable & self._voters.others), set())
        return PreVote(now.term, self._rounds, now.last_index, now.last_term)

    def answered(self, peer_id: str, answer: PreVoteAnswer) -> None:
        """Count an answer to the present round. One that cannot be won any more is over, and keeps nobody back."""
        current = self._round
        if current is None or answer.round_ != current.number or peer_id not in current.silent:
            return
        current.silent.remove(peer_id)
        if answer.granted:
            current.granted.add(peer_id)
        elif not self._voters.is_majority(current.granted | current.silent):
            self._round = None

    def stands(self, now: Standing) -> bool:
        """Whether the present round says to stand for election now. Said once for a round."""
        current = self._round
        if current is None or now.role is Role.LEADER:
            return False
        if current.term != now.term or self._monotonic_ns() - current.sent_ns > self._minimum_ns:
            self._round = None
            return False
        if not self._voters.is_majority(current.granted):
            return False
        self._round = None
        return True

    def hurry(self) -> None:
        """A later term was learnt by asking: ask again under it."""
        self._round = None
        self._deadline_ns = self._monotonic_ns()

    # --- others ask -------------------------------------------------------------------------------------------------

    def sticks(self, candidate: str) -> bool:
        """Whether a leader was heard so lately that nobody but itself may ask for a vote."""
        return self._leader != candidate and self._monotonic_ns() - self._heard_ns < self._minimum_ns

    def answer(self, candidate: str, request: PreVote, now: Standing) -> PreVoteAnswer:
        """Whether `candidate` would get this node's vote."""
        granted = (
            now.role is not Role.LEADER
            and now.vowed
            and request.term >= now.term
            and (request.last_term, request.last_index) >= (now.last_term, now.last_index)
            and not self.sticks(candidate)
            and not self._goes_first(candidate, request, now)
        )
        if granted:
            self._give_way()
        return PreVoteAnswer(now.term, request.round_, granted)

    def _goes_first(self, candidate: str, request: PreVote, now: Standing) -> bool:
        """Whether this node asks, too, and is the better candidate."""
        if self._round is None or self._monotonic_ns() - self._round.sent_ns > self._minimum_ns:
            return False
        own = (now.last_term, now.last_index, self._node_id)
        return own > (request.last_term, request.last_index, candidate)

    def _give_way(self) -> None:
        """Let the other win. Once only until a leader is heard: it may never come to it."""
        self._round = None
        if not self._gave_way:
            self._gave_way = True
            pause_ns = self._settings.heartbeat_ms * _NS_PER_MS
            self._deadline_ns = max(self._deadline_ns, self._monotonic_ns() + pause_ns)

    def _wait(self, since_ns: int) -> None:
        self._deadline_ns = since_ns + self._drawn_ns()
        self._round = None
        self._gave_way = False

    def _drawn_ns(self) -> int:
        settings = self._settings
        spread_ms = settings.election_timeout_ms_max - settings.election_timeout_ms_min
        return int((settings.election_timeout_ms_min + self._random.random() * spread_ms) * _NS_PER_MS)
