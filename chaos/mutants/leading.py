"""Mutants of leading: who may stamp, claim and answer, and until when (I8, hazards 9, 15 and 16)."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from garbagetruck.chaos.mutants.mutant import by_test, in_cluster, mutant
from garbagetruck.chaos.mutants.patch import Patch
from garbagetruck.chaos.mutants.strays import let_proposals_stray
from garbagetruck.chaos.simulator.raft.life import SimulatedReplica
from garbagetruck.cluster.api.gateway import NotLeader
from garbagetruck.cluster.cleanup.executor import CleanupExecutor
from garbagetruck.cluster.machine.machine import Applied, Machine
from garbagetruck.cluster.machine.operations import EnterEpoch
from garbagetruck.cluster.node import commit_queue
from garbagetruck.cluster.node.applier import Applier
from garbagetruck.cluster.node.commit_queue import CommitQueue
from garbagetruck.cluster.node.leadership import Leadership
from garbagetruck.cluster.raft.confirm import EchoRound
from garbagetruck.cluster.raft.election import Election, Standing
from garbagetruck.cluster.raft.exchange import Exchange, Propose
from garbagetruck.cluster.raft.journal.log import Journal
from garbagetruck.cluster.raft.log import Confirmation, Role
from garbagetruck.cluster.raft.wire import PreVote


@mutant(guard="reads and credits: a majority's echo", breaks="I8", catcher=in_cluster("pause", first=22))
def nobody_confirms_leadership(patch: Patch) -> None:
    """A leader believes to lead until it is told otherwise."""

    async def confirm(self: SimulatedReplica) -> Confirmation:
        return Confirmation(self.status.term, self.status.commit_index)

    patch.setattr(SimulatedReplica, "confirm", confirm)


@mutant(
    guard="reads and credits: an echo answers this very probe",
    breaks="I8",
    catcher=by_test(
        "unit/raft/test_confirm.py::test_an_echo_to_an_earlier_probe_does_not_count",
        "unit/raft/test_confirm.py::test_an_echo_of_another_term_does_not_count",
    ),
)
def any_echo_counts(patch: Patch) -> None:
    """An echo that was under way before the read arrived confirms it."""

    def echo(self: EchoRound, node_id: str, *, term: int, sequence: int) -> None:
        self._echoed.add(node_id)

    patch.setattr(EchoRound, "echo", echo)


@mutant(
    guard="reads: everything up to the index is applied first",
    breaks="I2",
    catcher=by_test("unit/node/test_gateway.py::test_a_follower_reads_once_it_has_applied_what_the_leader_told"),
)
def a_read_does_not_wait_to_be_applied(patch: Patch) -> None:
    """A node answers from what it has, and does not know of what was acknowledged a moment ago."""

    async def wait_applied(self: Applier, index: int) -> None: ...

    patch.setattr(Applier, "wait_applied", wait_applied)


@mutant(guard="hazard 15: lead when one's own entry is applied", breaks="I3", catcher=in_cluster("kill", first=3))
def a_vote_is_taken_for_leadership(patch: Patch) -> None:
    """A majority's vote is enough to lead, before what the predecessors committed is applied."""

    def enter(self: Leadership, term: int) -> None:
        operations = (EnterEpoch(self._node_id), *self._opening())
        sequence = self._proposer.propose(epoch=term, at_ms=self._machine.clock_ms, operations=operations)
        self._entering = (term, sequence)
        if self._machine.cluster_id:
            applied: Any = SimpleNamespace(epoch=term, refused=None)
            self._start_leading(applied)

    patch.setattr(Leadership, "_enter", enter)


@mutant(guard="apply: a batch counts in its own epoch", breaks="I8", catcher=in_cluster("stall", names="I7"))
def any_epoch_may_enter(patch: Patch) -> None:
    """What a deposed leader had in flight is applied behind its successor's entries."""
    let_proposals_stray(patch)
    patch.setattr(Machine, "_may_enter", lambda self, batch: True)


@mutant(
    guard="commit queue: an unknown outcome is called so",
    breaks="I11",
    catcher=in_cluster("slow_disks", names="I11", first=4),
)
def an_unknown_outcome_is_called_a_failure(patch: Patch) -> None:
    """A batch that may still be applied is told to its callers as not applied."""
    patch.setattr(commit_queue, "OutcomeUnknown", NotLeader)


@mutant(
    guard="commit queue: closed when leadership is lost",
    breaks="I8",
    catcher=by_test(
        "unit/node/test_commit_queue.py::test_lost_leadership_fails_what_waits_at_once_and_keeps_what_is_sealed"
    ),
)
def the_queue_stays_open(patch: Patch) -> None:
    """What waits when leadership is lost goes on waiting, and more is taken."""
    patch.setattr(CommitQueue, "close", lambda self: None)


@mutant(
    guard="commit queue: nothing begins on a disk that is almost full",
    breaks="I1",
    catcher=by_test(
        "unit/node/test_commit_queue.py::test_while_a_disk_is_almost_full_nothing_begins_and_renewals_and_releases_go_on"
    ),
)
def leases_begin_on_a_full_disk(patch: Patch) -> None:
    """New leases take the room that renewals will need."""
    patch.setattr(CommitQueue, "_check_space", lambda self, operations: None)


@mutant(
    guard="executor: stops at once",
    breaks="I8",
    catcher=by_test(
        "unit/cleanup/test_executor_leadership.py::test_i8_losing_leadership_cancels_what_runs_and_reports_nothing"
    ),
)
def a_deposed_leader_goes_on_cleaning(patch: Patch) -> None:
    """Handlers that run when leadership is lost are left running."""
    patch.setattr(CleanupExecutor, "stopped_leading", lambda self, epoch: None)


@mutant(
    guard="hazard 9: what apply raises ends the node",
    breaks="I3",
    catcher=by_test("unit/node/test_applier.py::test_a_bug_ends_the_node_and_nothing_more_is_applied"),
)
def an_entry_that_raises_is_passed_over(patch: Patch) -> None:
    """A node goes on behind an entry that it could not apply."""

    def on_fatal(self: Applier, error: BaseException) -> None: ...

    patch.setattr(Applier, "on_fatal", on_fatal)


@mutant(
    guard="applier: an entry is skipped for its own bytes",
    breaks="I3",
    catcher=by_test("unit/node/test_applier.py::test_i3_an_entry_is_skipped_only_for_its_own_bytes_at_its_own_index"),
)
def an_entry_is_skipped_by_its_index_alone(patch: Patch) -> None:
    """An operator's word about one entry skips whatever is at that index."""
    original = Applier._met

    def met(self: Applier, index: int, payload: bytes) -> Applied:
        ordered = self._skip.get(index)
        return original(self, index, payload) if ordered is None else self._machine.skip(index, ordered)

    patch.setattr(Applier, "_met", met)


@mutant(
    guard="hazard 16: a proposal is for the term that was meant",
    breaks="I3",
    catcher=by_test("unit/raft/test_rounds.py::TestTheQueue"),
)
def a_proposal_enters_any_term(patch: Patch) -> None:
    """A batch that was stamped under one leadership is appended under the next."""
    original = Exchange._take

    def take(self: Exchange, request: Any, consensus: Any, transport: Any) -> None:
        if isinstance(request, Propose) and consensus.role is Role.LEADER and self._transfer is None:
            request = Propose(request.payload, consensus.term)
        original(self, request, consensus, transport)

    patch.setattr(Exchange, "_take", take)


@mutant(
    guard="hazard 16: nothing is proposed while leadership is handed over",
    breaks="I11",
    catcher=by_test("unit/raft/test_rounds.py::TestTransfers::test_nothing_is_proposed_from_the_asking_to_the_end"),
)
def proposals_go_on_during_a_transfer(patch: Patch) -> None:
    """The target of a transfer never catches up, or what was proposed last is lost."""
    original = Exchange._take

    def take(self: Exchange, request: Any, consensus: Any, transport: Any) -> None:
        if isinstance(request, Propose) and consensus.role is Role.LEADER and consensus.term == request.term:
            consensus.propose(request.payload)
        else:
            original(self, request, consensus, transport)

    patch.setattr(Exchange, "_take", take)


@mutant(
    guard="elections: nothing said to a leader waits for the commit index",
    breaks="I8",
    catcher=by_test("unit/raft/journal/test_log.py::test_a_commit_index_that_is_being_stored_makes_no_vow_undone"),
)
def vows_wait_for_the_commit_index(patch: Patch) -> None:
    """A disk that takes longer than a second for a sync has every follower fall silent, and every leader step down."""
    patch.setattr(Journal, "vows_durable", Journal.metadata_durable)


@mutant(
    guard="elections: who waits for its disk neither asks nor grants",
    breaks="I8",
    catcher=by_test(
        "unit/raft/test_election.py::TestAsking::test_nobody_asks_while_its_own_disk_has_not_the_term_and_the_vote"
    ),
)
def elections_do_not_wait_for_the_disk(patch: Patch) -> None:
    """A disk slower than the timeouts elects nobody: each candidate's next term ends the election before its votes are there."""
    stood = Election.ask

    def ask(self: Election, now: Standing, reachable: frozenset[str]) -> PreVote | None:
        return stood(self, replace(now, vowed=True), reachable)

    patch.setattr(Election, "ask", ask)
