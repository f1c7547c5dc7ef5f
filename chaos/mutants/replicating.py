"""Mutants of replication and elections: what is promised, counted, and voted for (hazards 1, 4, 5, 8, 11 to 14 and 17)."""

from typing import Any

from msgspec.structs import replace

from garbagetruck.chaos.mutants.mutant import by_test, in_raft, mutant
from garbagetruck.chaos.mutants.patch import Patch
from garbagetruck.cluster.node.membership import MembershipDriver
from garbagetruck.cluster.raft import changing, seams, transport, wire
from garbagetruck.cluster.raft.ballot import Ballot
from garbagetruck.cluster.raft.election import Election, Standing
from garbagetruck.cluster.raft.guard import Carriage, Fitted
from garbagetruck.cluster.raft.journal.format import Metadata
from garbagetruck.cluster.raft.journal.log import Journal
from garbagetruck.cluster.raft.log import Role
from garbagetruck.cluster.raft.seams import Consensus
from garbagetruck.cluster.raft.transport import GuardedTransport
from garbagetruck.cluster.raft.voters import Voters

SEEDS = 30
FEW_BYTES = 512
LONG_S = 30.0


@mutant(
    guard="hazard 1: nothing is repeated, and nothing cut that matches",
    breaks="I2",
    catcher=in_raft("slow", "reset", "lossy", "power_of_many", first=3, seeds=SEEDS),
)
def a_follower_takes_messages_as_they_come(patch: Patch) -> None:
    """A leader repeats itself, and a follower drops what a repeated message does not have."""
    patch.setattr(transport, "fit", lambda message, _log: Fitted(message))
    patch.setattr(Carriage, "strip", lambda _self, message: message)


@mutant(
    guard="hazard 4: acknowledgements wait for the disk",
    breaks="I2",
    catcher=in_raft("power_of_slow", first=10, seeds=SEEDS),
)
def acknowledgements_do_not_wait_for_the_disk(patch: Patch) -> None:
    """A follower acknowledges what a loss of power takes from it."""
    patch.setattr(GuardedTransport, "_acknowledge", GuardedTransport.say)


@mutant(
    guard="hazard 5: a leader counts its own disk",
    breaks="I2",
    catcher=in_raft("power_of_slow", names="I3", first=3, seeds=SEEDS),
)
def a_leader_counts_what_its_own_disk_has_not(patch: Patch) -> None:
    """A leader is one of the majority for entries that it has not written yet."""
    patch.setattr(Journal, "durable_index", property(lambda self: self.last_index))


@mutant(
    guard="hazard 4: votes wait for the disk",
    breaks="I3",
    catcher=in_raft("slow_disks", "power_of_many", "hand_over", "power_step", first=15, seeds=SEEDS),
)
def votes_do_not_wait_for_the_disk(patch: Patch) -> None:
    """A node that lost power votes a second time in the same term."""
    patch.setattr(GuardedTransport, "vow", GuardedTransport.say)


@mutant(
    guard="hazard 8: acknowledgements count in their own term",
    breaks="I2",
    catcher=by_test(
        "unit/raft/test_terms.py::TestLateAcknowledgements::test_i2_an_acknowledgement_of_an_earlier_term_commits_nothing"
    ),
)
def an_acknowledgement_counts_in_any_term(patch: Patch) -> None:
    """A leader that was deposed and elected again counts a late answer to what it had sent before."""
    original = GuardedTransport._on_next_index

    def on_next_index(self: GuardedTransport, peer_id: str, session: Any, message: wire.NextIndex) -> None:
        original(self, peer_id, session, replace(message, term=self._consensus.term))

    patch.setattr(GuardedTransport, "_on_next_index", on_next_index)


@mutant(guard="hazard 11: entries are never cut up", breaks="I3", catcher=in_raft(seeds=SEEDS))
def entries_are_cut_up(patch: Patch) -> None:
    """Proposals may be larger than what pysyncobj sends in one piece."""
    patch.setattr(seams, "APPEND_BATCH_BYTES", FEW_BYTES)


def _configured(patch: Patch, name: str, value: object) -> None:
    original = Consensus._configure

    def configure(self: Consensus, settings: Any) -> Any:
        conf = original(self, settings)
        setattr(conf, name, value)
        return conf

    patch.setattr(Consensus, "_configure", configure)


@mutant(
    guard="hazard 12: entries leave at once",
    breaks="latency",
    catcher=by_test(
        "unit/raft/test_terms.py::TestEntriesLeaveAtOnce::test_a_proposal_is_sent_in_the_tick_that_took_it"
    ),
)
def entries_leave_with_the_heartbeat(patch: Patch) -> None:
    """Every write waits for the next heartbeat, as it does in pysyncobj's own setting."""
    _configured(patch, "appendEntriesUseBatch", value=True)


@mutant(
    guard="hazard 14: a leader without a majority steps down",
    breaks="I8",
    catcher=by_test(
        "unit/raft/test_election.py::TestWithPysyncobj::test_i8_a_leader_without_a_majority_steps_down_within_an_election_timeout"
    ),
)
def a_leader_cut_off_stays_one(patch: Patch) -> None:
    """A leader that nobody answers goes on for half a minute."""
    _configured(patch, "leaderFallbackTimeout", LONG_S)


@mutant(
    guard="hazard 14: a leader of a former term is told",
    breaks="I8",
    catcher=by_test(
        "unit/raft/test_election.py::TestWithPysyncobj::test_a_leader_of_a_former_term_is_told_and_steps_down"
    ),
)
def a_leader_of_a_former_term_gets_no_answer(patch: Patch) -> None:
    """A deposed leader that comes back hears nothing of its successor until that one calls."""
    original = GuardedTransport.say

    def say(self: GuardedTransport, node_id: str, message: wire.Message) -> None:
        if not isinstance(message, wire.TermNotice):
            original(self, node_id, message)

    patch.setattr(GuardedTransport, "say", say)


@mutant(
    guard="hazard 13: PreVote and stickiness",
    breaks="I8",
    catcher=in_raft("cut", "pause", "one_way", names="terms", first=2, seeds=SEEDS),
)
def nobody_is_asked_before_an_election(patch: Patch) -> None:
    """A node that was cut off raises its term by itself, and deposes a healthy leader when it is back."""
    patch.setattr(Election, "sticks", lambda self, candidate: False)

    due: set[Election] = set()

    def ask(self: Election, now: Standing, reachable: frozenset[str]) -> None:
        if now.role is not Role.LEADER and self._monotonic_ns() >= self._deadline_ns:
            self._wait(self._monotonic_ns())
            due.add(self)

    def stands(self: Election, now: Standing) -> bool:
        stands = self in due
        due.discard(self)
        return stands

    patch.setattr(Election, "ask", ask)
    patch.setattr(Election, "stands", stands)


@mutant(
    guard="hazard 13: stickiness alone",
    breaks="I8",
    catcher=by_test(
        "unit/raft/test_election.py::TestWithPysyncobj::test_who_hears_a_leader_gives_no_vote_and_takes_no_term"
    ),
)
def a_vote_is_given_while_a_leader_is_heard(patch: Patch) -> None:
    """Whoever asks for a vote gets one, and its term, though a leader was just heard."""
    patch.setattr(Election, "sticks", lambda self, candidate: False)


@mutant(
    guard="hazard 13: a process that stood still listens first",
    breaks="I8",
    catcher=by_test(
        "unit/raft/test_rounds.py::TestTheEngine::test_a_process_that_stood_still_listens_before_it_concludes_anything"
    ),
)
def a_process_that_stood_still_concludes_at_once(patch: Patch) -> None:
    """What was said while it stood still is not read before it believes that the leader is gone."""
    patch.setattr(Election, "held_up", lambda self: None)


@mutant(
    guard="ballot: a peer votes once",
    breaks="I3",
    catcher=by_test("unit/raft/test_election.py::TestWithPysyncobj::test_one_peer_votes_once"),
)
def a_peer_votes_twice(patch: Patch) -> None:
    """A vote that is said twice counts twice: pysyncobj counts, and does not look whose it is."""
    patch.setattr(Ballot, "_on_vote", lambda self, peer_id, message: self._deliver(peer_id, message))


@mutant(
    guard="hazard 17: one change of the voters at a time",
    breaks="I3",
    # Since changes are sealed no seed had two leaders by it; what it comes to there is a majority that is never found (I4).
    catcher=in_raft("members", "slow", "split", "kill", names="I4", first=3, seeds=SEEDS),
)
def a_second_change_does_not_wait_for_the_first(patch: Patch) -> None:
    """Two changes are under way at once, and their majorities have nobody in common."""
    patch.setattr(changing, "_is_under_way", lambda _consensus: False)
    patch.setattr(changing, "_has_applied_its_own", lambda _consensus: True)


@mutant(
    guard="hazard 17: a change is sealed",
    breaks="I4",
    catcher=by_test("unit/node/test_membership_driver.py::test_i4_a_record_stays_until_the_removal_is_sealed"),
)
def a_change_is_not_sealed(patch: Patch) -> None:
    """A removed node ends, or a leader is lost, while the others still count votes by what was so before, for ever."""

    async def seal(_self: Any, _epoch: int) -> None:
        pass

    patch.setattr(MembershipDriver, "_seal", seal)


@mutant(
    guard="hazard 17: the restart rule",
    breaks="I3",
    catcher=in_raft("members", "kill_many", "split", "power_of_many", first=5, seeds=SEEDS),
)
def a_restart_goes_back_behind_the_last_changes(patch: Patch) -> None:
    """A node that starts counts votes by a configuration that is over."""
    patch.setattr(Metadata, "knowing_of", lambda found, _changes: found)
    patch.setattr(Journal, "store_commit_index", lambda _self: None)


@mutant(
    guard="hazard 17: who votes",
    breaks="I3",
    catcher=by_test("unit/raft/test_voters.py::TestVoters::test_a_learner_is_no_majority_with_anybody"),
)
def a_learner_counts_itself(patch: Patch) -> None:
    """A node that does not vote makes up a majority with others."""

    def is_majority(self: Voters, others: Any) -> bool:
        return (len(self.others & others) + 1) * 2 > len(self.others) + 1

    patch.setattr(Voters, "is_majority", is_majority)


@mutant(
    guard="hazard 17: a learner has the log before it votes",
    breaks="I8",
    catcher=by_test("unit/raft/test_changes.py::TestALeader::test_a_learner_that_is_far_behind_is_not_made_a_voter"),
)
def a_learner_far_behind_votes(patch: Patch) -> None:
    """A node that has nothing of the log counts in the majority that every write waits for."""
    patch.setattr(changing, "_judge_new", lambda *_: None)
