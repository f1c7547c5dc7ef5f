"""Several machines that must agree, and an oracle that judges them.

Duty: write each batch to all of them; compare outcomes, digests and invariants after each. It must not know: how
histories are made.

- The *leader* and its *twin* get the same bytes (I3).
- The *purist* gets the history without what was refused, and must not be able to tell (I11).
- The *late ones* were restored somewhere on the way, and agree from then on (I3).
"""

import re
from collections import deque
from dataclasses import dataclass, field

from msgspec.structs import replace

from garbagetruck.cluster.machine import codec
from garbagetruck.cluster.machine.machine import Applied, Machine
from garbagetruck.cluster.machine.model import EndReason, EventType, Resource, ResourceState, Tombstone
from garbagetruck.cluster.machine.operations import BATCH_FORMAT, Batch, Operation, ReleaseHolder
from garbagetruck.cluster.machine.outcomes import (
    LeasesReleased,
    LeasesRenewed,
    Outcome,
    Refused,
    SessionsRenewed,
)
from garbagetruck.cluster.machine.restoring import begin_incarnation
from tests.unit.machine import integrity
from tests.unit.machine.oracle import oracle, restoring
from tests.unit.machine.oracle.books import Books, Space, Thing
from tests.unit.machine.oracle.views import view, view_session
from tests.unit.machine.promises import Key, Promises
from tests.unit.machine.scribe import MEMBER

FOUNDER = replace(MEMBER, feature_level=2)
"""Of an incarnation that a restore began."""
LATE_ONES_MAX = 3
PROPOSER = "n1"


def without_messages(outcome: Outcome) -> Outcome:
    """What the oracle can know: the wording, and what the wording carries, are not its business."""
    match outcome:
        case Refused():
            return replace(outcome, message="", metadata=())
        case LeasesRenewed() | LeasesReleased() | SessionsRenewed():
            refusals = tuple((place, replace(each, message="", metadata=())) for place, each in outcome.refusals)
            return replace(outcome, refusals=refusals)
        case _:
            return outcome


@dataclass
class Chorus:
    leader: Machine = field(default_factory=Machine)
    twin: Machine = field(default_factory=Machine)
    purist: Machine = field(default_factory=Machine)
    late: deque[Machine] = field(default_factory=lambda: deque(maxlen=LATE_ONES_MAX))
    promises: Promises = field(default_factory=Promises)
    sequence: int = 0
    books: Books = field(init=False)

    def __post_init__(self) -> None:
        self.books = Books(self._delay_of)
        default = self.leader.namespaces()[0]
        self.books.spaces[default.name] = Space(default.revision, default.limits, default.cleanup, default.brake)

    def write(self, epoch: int, at_ms: int, *operations: Operation) -> Applied:
        self.sequence += 1
        batch = Batch(BATCH_FORMAT, epoch, at_ms, PROPOSER, self.sequence, operations)
        owed, digest = self._owed(), self.leader.digest()
        applied = self._write_bytes(codec.encode_batch(batch))
        judged = oracle.judge(self.books, batch)
        if isinstance(judged, Refused):
            assert applied.refused is not None
            assert applied.refused.reason is judged.reason
            assert self.leader.digest() == digest, "I11: a refused batch changes nothing, not even the clock"
            return applied
        assert (applied.proposer, applied.sequence, applied.epoch) == (PROPOSER, self.sequence, epoch)
        assert [without_messages(each) for each in applied.outcomes] == judged
        self._note_promises(batch, applied, owed)
        self._tell_the_purist(batch, applied)
        self.check()
        return applied

    def restore(self) -> None:
        """A disaster, and the next incarnation: every machine, and the oracle, go on from what was saved of them."""
        self.promises.restored(self.leader.clock_ms)
        incarnation = self.leader.incarnation + 1
        for machine in (self.leader, self.twin, self.purist, *self.late):
            begin_incarnation(integrity.state_of(machine), incarnation, (FOUNDER,), source="a test")
            assert machine.digest() == self.leader.digest(), "I3: one state, restored in two ways"
        restoring.restore(self.books, incarnation, FOUNDER)
        self.check()

    def write_garbage(self, payload: bytes) -> None:
        """Bytes that are no batch: an answer, and nothing changes."""
        digest = self.leader.digest()
        applied = self._write_bytes(payload)
        assert applied.refused is not None
        assert applied.outcomes == ()
        assert self.leader.digest() == digest

    def add_late_one(self) -> None:
        self.late.append(integrity.restored(self.leader))
        assert self.late[-1].digest() == self.leader.digest()

    def _write_bytes(self, payload: bytes) -> Applied:
        applied = self.leader.apply(payload)
        for other in (self.twin, *self.late):
            assert other.apply(payload) == applied, "I3: the same entry, another outcome"
            assert other.digest() == self.leader.digest(), "I3: the same history, another state"
            assert other.sweep_backlog() == self.leader.sweep_backlog()
        return applied

    def _tell_the_purist(self, batch: Batch, applied: Applied) -> None:
        kept = [
            operation
            for operation, outcome in zip(batch.operations, applied.outcomes, strict=True)
            if not isinstance(outcome, Refused)
        ]
        said = self.purist.apply(codec.encode_batch(replace(batch, operations=tuple(kept))))
        assert said.outcomes == tuple(each for each in applied.outcomes if not isinstance(each, Refused))
        assert self.purist.digest() == self.leader.digest(), "I11: a refusal left a trace"

    def _note_promises(self, batch: Batch, applied: Applied, owed: dict[Key, int]) -> None:
        for asked, outcome in zip(batch.operations, applied.outcomes, strict=True):
            self.promises.note(self.leader.clock_ms, asked, outcome)
        if any(isinstance(asked, ReleaseHolder) for asked in batch.operations):
            self.promises.give_back([each for each in self.promises.resource_of if self._given_back(each)])
        self.promises.check_owed(owed, self._owed())

    def _given_back(self, lease_id: str) -> bool:
        seen = self.leader.lease(lease_id, self.leader.clock_ms)
        return seen is not None and seen.end_reason == EndReason.RELEASED

    def _owed(self) -> dict[Key, int]:
        resources = integrity.state_of(self.leader).resources
        return {key: each.generation for key, each in resources.items() if each.cleanup is not None}

    def _delay_of(self, claim_token: int) -> int:
        """How long the leader lets a failed claim's resource wait: its event tells."""
        recent = self.leader.events_after(max(0, self.leader.event_index - 200), 200)
        found = [
            re.search(r"again in (\d+) ms", event.detail)
            for event in recent
            if event.type is EventType.CLEANUP_FAILED and event.token == claim_token
        ]
        assert found
        assert found[-1] is not None
        return int(found[-1].group(1))

    # -- after each batch -------------------------------------------------------------------------------------

    def check(self) -> None:
        integrity.check(self.leader)
        leader, books = self.leader, self.books
        assert (leader.clock_ms, leader.epoch, leader.cleanups_paused) == (books.clock, books.epoch, books.paused)
        assert leader.sweep_backlog() == oracle.behind(books)
        for name, space in books.spaces.items():
            self._check_namespace(name, space)
        for lease_id in (*books.leases, *books.ended):
            assert leader.lease(lease_id, books.clock) == view(books, lease_id)
        for session_id in (*books.sessions, *books.draining, *books.ended_sessions):
            assert leader.session(session_id, books.clock) == view_session(books, session_id)
        state = integrity.state_of(leader)
        assert len(state.leases) == len(books.leases)
        assert set(state.resources) == set(books.things)
        for key, thing in books.things.items():
            seen = leader.resource(*key)
            assert isinstance(seen, Resource)
            assert described(seen) == thing_described(thing)
        for key, generation in books.buried.items():
            tombstone = leader.resource(*key)
            assert isinstance(tombstone, Tombstone)
            assert tombstone.generation == generation

    def _check_namespace(self, name: str, space: Space) -> None:
        seen = self.leader.namespace(name)
        assert seen is not None
        assert (seen.revision, seen.paused, seen.brake_engaged) == (space.revision, space.paused, space.braked)
        assert (seen.brake_known_holders, seen.cleanups_not_before_ms) == (space.known, space.not_before_ms)
        usage = self.leader.usage(name)
        assert usage.brake_missing_holders == len(space.missing)
        assert usage.holders == len(self.books.holders(name))
        ready = {(each.namespace, each.name) for each in self.leader.ready(1_000) if each.namespace == name}
        stopped = self.books.paused or space.paused or space.braked or space.not_before_ms > self.books.clock
        if stopped or self.books.waits() >= 0 or oracle.behind(self.books):
            assert not ready
        else:
            assert ready == {
                key
                for key, thing in self.books.things.items()
                if key[0] == name
                and thing.state is ResourceState.DUE
                and thing.due_ms <= self.books.clock
                and not thing.holds
            }


def described(resource: Resource) -> tuple[object, ...]:
    claim = resource.claim
    return (
        resource.generation,
        resource.state,
        resource.revision,
        resource.cleanup,
        resource.grace_ms,
        list(resource.leases),
        [(hold.id, hold.reason) for hold in resource.holds],
        resource.fencing_token,
        resource.due_ms,
        resource.claims,
        resource.failures,
        (claim.token, claim.epoch, claim.deadline_ms) if claim is not None else None,
    )


def thing_described(thing: Thing) -> tuple[object, ...]:
    claimed = thing.state is ResourceState.CLAIMED
    return (
        thing.generation,
        thing.state,
        thing.revision,
        thing.cleanup,
        thing.grace_ms,
        thing.leases,
        list(thing.holds.items()),
        thing.fencing_token,
        thing.due_ms,
        thing.claims,
        thing.failures,
        (thing.claim_token, thing.claim_epoch, thing.claim_deadline_ms) if claimed else None,
    )
