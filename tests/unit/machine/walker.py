"""Writes long random histories that know what they do: they mostly name what is there, and sometimes what is not.

Duty: turn a `random.Random` into batches for a chorus. It must not know: what should become of them.
"""

import random

from msgspec.structs import replace

from garbagetruck.cluster.machine.model import (
    Bounds,
    BrakeSettings,
    CleanupSettings,
    CleanupSpec,
    NamespaceLimits,
    ReportResult,
    Resource,
    ResourceState,
)
from garbagetruck.cluster.machine.operations import (
    AcquireLease,
    AddMember,
    ClaimCleanup,
    CloseSession,
    CreateCluster,
    DiscardCleanup,
    EnterEpoch,
    ForgetResource,
    KeepChronicles,
    NameIncarnation,
    NoteDigest,
    OpenSession,
    Operation,
    PauseCleanups,
    PlaceHold,
    RegisterMember,
    ReleaseHolder,
    ReleaseLeases,
    RemoveHold,
    RemoveMember,
    RenewLeases,
    RenewSessions,
    ReportCleanup,
    ReportDigest,
    ResumeCleanups,
    RetryCleanup,
    SetBounds,
    SetNamespace,
    SettleMember,
)
from tests.unit.machine.chorus import Chorus
from tests.unit.machine.integrity import state_of
from tests.unit.machine.scribe import founder, member

BOUNDS = Bounds(
    expirations_per_batch_max=2,
    request_age_ms_max=10_000,
    requests_max=6,
    events_max=500,
    leases_per_resource_max=3,
    holds_per_resource_max=2,
    namespaces_max=3,
    members_max=4,
    claim_ms_max=5_000,
)
LIMITS = NamespaceLimits(leases_max=16, leases_per_holder_max=8, sessions_max=4, resources_max=8)
CLEANUP = CleanupSettings(grace_ms_min=500, attempts_max=2, retry_delay_ms_min=400, retry_delay_ms_max=1_000)
BRAKE = BrakeSettings(holders_min=2, share=0.5, window_ms=3_000)
NO_BRAKE = BrakeSettings(enabled=False)
TARGETS = ("a", "b", "ab", "a/x", "a/x/y", "c/d", "c", "e", "f", "g")
SPACES = ("default", "default", "default", "team")
HOLDERS = ("ann", "bob", "cid", "dot")
TTLS_MS = (100, 500, 1_500, 4_000, 12_000, 40_000)
MEMBERS = ("n1", "n2", "n3")
STEPS_MS = (0, 1, 50, 99, 100, 250, 499, 500, 501, 1_000, 1_500, 4_000)


WEIGHTS = {
    "acquire": 14,
    "open_session": 4,
    "renew": 10,
    "renew_sessions": 4,
    "release": 5,
    "release_holder": 1,
    "close_session": 1,
    "claim": 12,
    "report": 8,
    "hold": 2,
    "unhold": 4,
    "retry": 2,
    "discard": 2,
    "forget": 1,
    "pause": 1,
    "resume": 6,
    "set_namespace": 1,
    "set_bounds": 1,
    "add_member": 2,
    "remove_member": 2,
    "register_member": 2,
    "settle_member": 4,
    "note_digest": 1,
    "report_digest": 2,
    "name_incarnation": 1,
    "keep_chronicles": 1,
}
OPERATIONS = tuple(name for name, weight in WEIGHTS.items() for _ in range(weight))
"""Names of a walker's drafts, as often as they should be chosen."""


class Walker:
    def __init__(self, chorus: Chorus, rng: random.Random) -> None:
        self.chorus = chorus
        self.rng = rng
        self.at_ms = 1_000
        self.epoch = 1
        self.drawn = 0

    def begin(self) -> None:
        braking = self.rng.choice((BRAKE, NO_BRAKE))
        self.write(
            EnterEpoch("n1"),
            CreateCluster("cluster-1", 3, tuple(founder(number) for number in (1, 2, 3))),
            SetBounds(replace(BOUNDS, expirations_per_batch_max=self.rng.choice((1, 2, 100)))),
            *(SetNamespace(self.at_ms, name, "", "op", LIMITS, CLEANUP, braking) for name in ("default", "team")),
        )

    def step(self) -> None:
        """One batch of up to four operations; now and then a new leader, or a machine restored from a snapshot."""
        operations = [self.draft(self.rng.choice(OPERATIONS)) for _ in range(self.rng.choice((0, 0, 1, 1, 2, 4)))]
        if self.rng.random() < 0.03:
            self.epoch += 1
            operations.insert(0, EnterEpoch(f"n{self.epoch}"))
        if self.rng.random() < 0.05:
            self.chorus.add_late_one()
        if self.rng.random() < 0.35:
            self.at_ms += self.rng.choice(STEPS_MS)
        self.write(*operations)

    def draft(self, name: str) -> Operation:
        made: Operation = getattr(self, name)()
        return made

    def write(self, *operations: Operation) -> None:
        self.chorus.write(self.epoch, self.at_ms, *operations)

    # -- what to name -----------------------------------------------------------------------------------------

    def draw(self, kind: str) -> str:
        self.drawn += 1
        return f"{kind}-{self.drawn}"

    def request_id(self) -> str:
        return self.rng.choice(("", "", "", "q1", "q2"))

    def some_leases(self) -> tuple[str, tuple[str, ...]]:
        """Up to three of one namespace, as a rule."""
        state = state_of(self.chorus.leader)
        namespace = self.rng.choice(SPACES)
        living = [each.id for each in state.leases.values() if each.namespace == namespace]
        ended = [each.id for each in state.ended_leases.values() if each.namespace == namespace]
        strangers = ["lease-never", *list(state.leases)[:3]]
        pools = [pool for pool in (living, living, living, ended[-5:]) if pool] or [strangers]
        ids = (self.rng.choice(self.rng.choice(pools)) for _ in range(self.rng.choice((1, 1, 3))))
        return namespace, tuple(self.rng.choice(strangers) if self.rng.random() < 0.05 else each for each in ids)

    def some_session(self) -> tuple[str, str, str]:
        """Its id, namespace and holder; mostly a living one."""
        state = state_of(self.chorus.leader)
        over = [*state.draining.values(), *state.ended_sessions.values()]
        if state.sessions and self.rng.random() < 0.8:
            session = self.rng.choice(list(state.sessions.values()))
            return session.id, session.namespace, session.holder
        if over and self.rng.random() < 0.8:
            ended = self.rng.choice(over[-5:] + over[:2])
            return ended.id, ended.namespace, ended.holder
        return "session-never", self.rng.choice(SPACES), self.rng.choice(HOLDERS)

    def some_resource(self, *wanted: ResourceState) -> tuple[str, str, Resource | None]:
        """Mostly one in a wanted state."""
        resources = state_of(self.chorus.leader).resources
        fitting = [key for key, each in resources.items() if each.state in wanted]
        if fitting and self.rng.random() < 0.9:
            key = self.rng.choice(fitting)
            return *key, resources[key]
        namespace, name = self.rng.choice(SPACES), f"r{self.rng.randrange(8)}"
        return namespace, name, resources.get((namespace, name))

    # -- operations -------------------------------------------------------------------------------------------

    def acquire(self) -> Operation:
        namespace, name, _ = self.some_resource(*self.rng.choices(tuple(ResourceState), k=2))
        holder, ttl_ms, session_id = self.rng.choice(HOLDERS), self.rng.choice(TTLS_MS), ""
        if self.rng.random() < 0.4:
            session_id, *ours = self.some_session()
            ttl_ms = 0
            if self.rng.random() < 0.95:
                namespace, holder = ours[0], self.rng.choice((ours[1], ours[1], ""))
        cleanup = None
        if self.rng.random() < 0.8:
            target = TARGETS[sum(name.encode()) % 8] if self.rng.random() < 0.8 else self.rng.choice(TARGETS)
            cleanup = CleanupSpec("file", (("path", target),), f"file:/{target}")
        entered_ms = self.at_ms - self.rng.choice((*[0] * 18, 9_999, 10_001))
        lease_id, grace_ms = self.draw("lease"), self.rng.choice((0, 0, 2_000))
        return AcquireLease(
            entered_ms, namespace, self.request_id(), lease_id, name, holder, ttl_ms, session_id, cleanup, grace_ms
        )

    def renew(self) -> Operation:
        return RenewLeases(self.at_ms, *self.some_leases(), self.rng.choice((0, 0, 100, 4_000)))

    def release(self) -> Operation:
        return ReleaseLeases(self.at_ms, *self.some_leases(), self.rng.random() < 0.3)

    def release_holder(self) -> Operation:
        return ReleaseHolder(
            self.at_ms, self.rng.choice(SPACES), self.rng.choice(HOLDERS), self.rng.choice((1, 2, 100))
        )

    def open_session(self) -> Operation:
        session_id, holder, ttl_ms = self.draw("session"), self.rng.choice(HOLDERS), self.rng.choice(TTLS_MS)
        return OpenSession(self.at_ms, self.rng.choice(SPACES), self.request_id(), session_id, holder, ttl_ms)

    def renew_sessions(self) -> Operation:
        first, namespace, _ = self.some_session()
        return RenewSessions(self.at_ms, namespace, (first, self.some_session()[0]))

    def close_session(self) -> Operation:
        session_id, namespace, _ = self.some_session()
        return CloseSession(self.at_ms, namespace, session_id)

    def claim(self) -> Operation:
        namespace, name, seen = self.some_resource(ResourceState.DUE)
        generation = seen.generation if seen is not None else 1
        revision = seen.revision if seen is not None and self.rng.random() < 0.95 else 0
        duration_ms = self.rng.choice((300, 300, 1_000, 5_000, 5_001))
        return ClaimCleanup(namespace, name, generation, revision, "n1", duration_ms, "inode")

    def report(self) -> Operation:
        namespace, name, seen = self.some_resource(ResourceState.CLAIMED)
        token = seen.claim.token if seen is not None and seen.claim is not None else 1
        token -= self.rng.random() < 0.05
        return ReportCleanup(namespace, name, token, self.rng.choice(tuple(ReportResult)), "no such host")

    def hold(self) -> Operation:
        namespace, name, _ = self.some_resource(*ResourceState)
        hold_id = self.rng.choice(("h1", "h2", "h3"))
        return PlaceHold(
            self.at_ms, namespace, self.request_id(), "op", name, hold_id, self.rng.choice(("wait", "wait", "stop"))
        )

    def unhold(self) -> Operation:
        resources = state_of(self.chorus.leader).resources
        held = [key for key, each in resources.items() if each.holds]
        namespace, name = self.rng.choice(held) if held else ("default", "r1")
        seen = resources.get((namespace, name))
        hold_id = seen.holds[0].id if seen is not None and seen.holds and self.rng.random() < 0.9 else "h1"
        return RemoveHold(self.at_ms, namespace, self.request_id(), "op", name, hold_id)

    def retry(self) -> Operation:
        namespace, name, _ = self.some_resource(ResourceState.DEAD_LETTER, ResourceState.DUE)
        return RetryCleanup(self.at_ms, namespace, self.request_id(), "op", name)

    def discard(self) -> Operation:
        namespace, name, _ = self.some_resource(ResourceState.DEAD_LETTER)
        return DiscardCleanup(self.at_ms, namespace, self.request_id(), "op", name, "gone")

    def forget(self) -> Operation:
        namespace, name, seen = self.some_resource(*ResourceState)
        generation = seen.generation if seen is not None and self.rng.random() < 0.5 else self.rng.choice((0, 0, 1))
        force = self.rng.random() < 0.5
        return ForgetResource(self.at_ms, namespace, self.request_id(), "op", name, generation, "moved", force)

    def keep_chronicles(self) -> Operation:
        return KeepChronicles()

    def pause(self) -> Operation:
        return PauseCleanups(self.at_ms, self.rng.choice(("", "default")), self.request_id(), "op", "look")

    def resume(self) -> Operation:
        namespace, lift = self.rng.choice(("", "default", "team")), self.rng.random() < 0.5
        return ResumeCleanups(self.at_ms, namespace, self.request_id(), "op", "looked", lift)

    def set_namespace(self) -> Operation:
        name = self.rng.choice(("default", "team", "new-1", "new-2"))
        cleanup = replace(CLEANUP, grace_ms_min=self.rng.choice((0, 500)))
        braking, revision = self.rng.choice((BRAKE, BRAKE, NO_BRAKE)), self.rng.choice((0, 0, 0, 2))
        given = self.rng.choice((None, None, (), ("cleanup.grace_ms_min",), ("brake.enabled", "limits.leases_max")))
        return SetNamespace(self.at_ms, name, self.request_id(), "op", LIMITS, cleanup, braking, revision, given)

    def set_bounds(self) -> Operation:
        budget, requests_max = self.rng.choice((1, 2, 100)), self.rng.choice((2, 6))
        return SetBounds(replace(BOUNDS, expirations_per_batch_max=budget, requests_max=requests_max))

    def add_member(self) -> Operation:
        number = self.rng.randrange(1, 7)
        wanted = member(number, disk_id=self.rng.choice(("", "", f"disk-{number}")))
        if self.rng.random() < 0.1:
            wanted = replace(wanted, raft=member(self.rng.randrange(1, 7)).raft.replace("127.0.0.1", "localhost"))
        return AddMember(self.at_ms, self.request_id(), "op", wanted)

    def remove_member(self) -> Operation:
        return RemoveMember(self.at_ms, self.request_id(), "op", f"n{self.rng.randrange(1, 7)}")

    def register_member(self) -> Operation:
        number = self.rng.randrange(1, 7)
        record = member(number, version="2", disk_id=self.rng.choice((f"disk-{number}", "other")))
        if self.rng.random() < 0.1:
            record = replace(record, http=member(self.rng.randrange(1, 7)).http)
        level = self.rng.choice((4, 4, 4, 3, 2, 1))
        return RegisterMember(replace(record, feature_level=level, peer=record.peer if level > 1 else ""))

    def settle_member(self) -> Operation:
        return SettleMember(f"n{self.rng.randrange(1, 7)}", self.rng.choice(("voter", "gone")))

    def name_incarnation(self) -> Operation:
        return NameIncarnation(self.rng.choice(("", "one", "two")))

    def note_digest(self) -> Operation:
        return NoteDigest(self.rng.randrange(1, 60), self.rng.choice((7, 1 << 63)))

    def report_digest(self) -> Operation:
        noted = list(state_of(self.chorus.leader).digest_notes.values())
        index, digest = (noted[-1].index, noted[-1].digest) if noted else (1, 7)
        digest = self.rng.choice((digest, digest, 8, 9))
        return ReportDigest(index - self.rng.choice((0, 0, 0, 1)), self.rng.choice((*MEMBERS, "n9")), digest)
