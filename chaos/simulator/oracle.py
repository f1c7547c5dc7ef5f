"""What must hold, as a client and a bystander can know it.

Duty: keep what was acknowledged to clients, what was removed from the store and when batches were stamped, and say which
invariant of the design that breaks. Real time throughout, in nanoseconds of the world.
Invariants: it shares no code with `cluster`, and reads no node's state: it would repeat its mistakes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

NS_PER_MS = 1_000_000


@dataclass(slots=True)
class LeaseRecord:
    """A lease as its client may rely on it."""

    id: str
    request_id: str
    key: str
    token: int
    first_sent_ns: int
    acked_ns: int
    until_ns: int
    """Protected before this: when the last acknowledged call was sent, plus what it answered."""
    session_id: str
    given_up: bool = False
    """Its client has sent a release, or the close of its session."""


@dataclass(frozen=True, slots=True)
class Removal:
    key: str
    bearing: int
    token: int
    at_ns: int


@dataclass(slots=True)
class Oracle:
    """Hears everything as it happens. `fail` takes violations; `now_ns` is the world's time."""

    now_ns: Callable[[], int]
    fail: Callable[[str], None]
    foreign: set[str] = field(default_factory=set)
    """Keys that no lease ever named."""
    kept: set[str] = field(default_factory=set)
    """Keys that a release took off the books, as was acknowledged."""
    maybe_kept: set[str] = field(default_factory=set)
    """Keys of such releases whose outcome is unknown."""
    leases: dict[str, LeaseRecord] = field(default_factory=dict)
    removals: list[Removal] = field(default_factory=list)
    checks: int = 0
    """How often something could have been found wrong."""
    _by_key: dict[str, list[LeaseRecord]] = field(default_factory=dict)
    _sessions: dict[str, int] = field(default_factory=dict)
    _answers: dict[str, tuple[str, int]] = field(default_factory=dict)
    _not_applied: dict[str, str] = field(default_factory=dict)
    _attempts: dict[str, str] = field(default_factory=dict)
    _created: dict[str, str] = field(default_factory=dict)
    _created_ids: set[str] = field(default_factory=set)
    _digests: dict[int, tuple[int, str]] = field(default_factory=dict)
    _least_lead_ns: int | None = None
    _stamps: list[tuple[int, int]] = field(default_factory=list)

    # -- clients ----------------------------------------------------------------------------------------------

    def attempted(self, request_id: str, lease_id: str) -> None:
        """A door drew a lease id for an attempt at a request."""
        self._attempts[lease_id] = request_id

    def not_applied(self, lease_id: str, error: str) -> None:
        """An attempt failed with an error that promises that nothing was applied, nor will be."""
        self.checks += 1
        self._not_applied[lease_id] = error
        if lease_id in self._created_ids:
            self.fail(f"I11: lease {lease_id} was made, and its request answered with {error}")

    def acquired(
        self,
        *,
        request_id: str,
        lease_id: str,
        key: str,
        token: int,
        first_sent_ns: int,
        sent_ns: int,
        remaining_ms: int,
        session_id: str = "",
    ) -> None:
        """An acquire was acknowledged, just now. `remaining_ms` 0: the answer is that the lease is over already."""
        self.checks += 1
        first = self._answers.setdefault(request_id, (lease_id, token))
        if first != (lease_id, token):
            self.fail(f"I6: request {request_id} was answered with {first} and then with {(lease_id, token)}")
        until_ns = sent_ns + remaining_ms * NS_PER_MS
        self._check_order(lease_id, token, first_sent_ns)
        lease = LeaseRecord(lease_id, request_id, key, token, first_sent_ns, self.now_ns(), until_ns, session_id)
        self.leases[lease_id] = lease
        self._by_key.setdefault(key, []).append(lease)
        if not remaining_ms:
            lease.given_up = True  # nobody ever relied on it
        elif session_id:
            self._extend_session(session_id, until_ns)
        for removal in self.removals:
            if removal.key == key and removal.at_ns >= first_sent_ns and removal.token > token:
                self._check_removal(removal, lease)

    def renewed(self, lease_id: str, sent_ns: int, remaining_ms: int) -> None:
        lease = self.leases[lease_id]
        until_ns = sent_ns + remaining_ms * NS_PER_MS
        if lease.session_id:
            self._extend_session(lease.session_id, until_ns)
        else:
            lease.until_ns = max(lease.until_ns, until_ns)

    def session_renewed(self, session_id: str, sent_ns: int, remaining_ms: int) -> None:
        self._extend_session(session_id, sent_ns + remaining_ms * NS_PER_MS)

    def releasing(self, lease_id: str) -> None:
        """Its client stops relying on it, whatever becomes of the call."""
        self.leases[lease_id].given_up = True

    def closing(self, session_id: str) -> None:
        for lease in self.leases.values():
            if lease.session_id == session_id:
                lease.given_up = True

    def told_ended(self, lease_id: str, what: str) -> None:
        """The cluster said that a lease is over, by a refusal or in a linearizable read."""
        self.checks += 1
        lease = self.leases[lease_id]
        until_ns = self._until_ns(lease)
        if not lease.given_up and self.now_ns() < until_ns:
            left_ms = (until_ns - self.now_ns()) / NS_PER_MS
            self.fail(f"I7: lease {lease_id} on {lease.key} was ended {left_ms:.3f} ms too early, or more ({what})")

    def session_told_ended(self, session_id: str, what: str) -> None:
        self.checks += 1
        left_ns = self._sessions.get(session_id, 0) - self.now_ns()
        if left_ns > 0:
            self.fail(f"I7: session {session_id} was ended {left_ns / NS_PER_MS:.3f} ms too early, or more ({what})")

    def protected(self, lease_id: str) -> bool:
        """Whether its client may rely on the lease now."""
        lease = self.leases[lease_id]
        return not lease.given_up and self.now_ns() < self._until_ns(lease)

    def _extend_session(self, session_id: str, until_ns: int) -> None:
        self._sessions[session_id] = max(until_ns, self._sessions.get(session_id, 0))

    def _until_ns(self, lease: LeaseRecord) -> int:
        return self._sessions.get(lease.session_id, 0) if lease.session_id else lease.until_ns

    def _check_order(self, lease_id: str, token: int, first_sent_ns: int) -> None:
        for other in self.leases.values():
            if other.token == token and other.id != lease_id:
                self.fail(f"I5: token {token} was issued to {other.id} and to {lease_id}")
            if other.acked_ns < first_sent_ns and other.token >= token and other.id != lease_id:
                self.fail(
                    f"I5: token {token} of {lease_id} is not above {other.token} of {other.id}, acknowledged before"
                )

    # -- the store --------------------------------------------------------------------------------------------

    def removed(self, key: str, bearing: int, token: int) -> None:
        """A cleanup removed an object, just now."""
        self.checks += 1
        removal = Removal(key, bearing, token, self.now_ns())
        self.removals.append(removal)
        if key in self.foreign:
            self.fail(f"I1: {key}, which no resource names, was removed under token {token}")
        if key in self.kept:
            self.fail(f"I1: {key}, which was taken off the books, was removed under token {token}")
        if bearing >= token:
            self.fail(f"I5: {key}, which bears {bearing}, was removed under {token}")
        for lease in self._by_key.get(key, ()):
            self._check_removal(removal, lease)

    def _check_removal(self, removal: Removal, lease: LeaseRecord) -> None:
        if not lease.given_up and removal.at_ns < self._until_ns(lease):
            left_ms = (self._until_ns(lease) - removal.at_ns) / NS_PER_MS
            self.fail(
                f"I1: {removal.key} was removed under token {removal.token} while lease {lease.id} (token {lease.token}) "
                f"was acknowledged and had {left_ms:.3f} ms left"
            )

    def orphans(self, keys: list[str]) -> list[str]:
        """Of the keys still in the store at the end, those that should have been reclaimed (I4)."""
        self.checks += 1
        return [key for key in keys if key not in self.foreign | self.kept | self.maybe_kept]

    # -- the cluster, from outside ----------------------------------------------------------------------------

    def created(self, lease_id: str) -> None:
        """The history made a lease."""
        request_id = self._attempts[lease_id]
        self.checks += 1
        self._created_ids.add(lease_id)
        if lease_id in self._not_applied:
            self.fail(
                f"I11: lease {lease_id} was made, after its request had failed with {self._not_applied[lease_id]}"
            )
        first = self._created.setdefault(request_id, lease_id)
        if first != lease_id:
            self.fail(f"I6: request {request_id} made two leases, {first} and {lease_id}")

    def applied(self, node: str, index: int, digest: int) -> None:
        """A node's state after an entry."""
        first, who = self._digests.setdefault(index, (digest, node))
        if first != digest:
            self.fail(f"I3: at index {index}, {node} and {who} have different digests")

    def digest_at(self, index: int) -> int | None:
        """What nodes had right after that entry; None where none has told."""
        found = self._digests.get(index)
        return None if found is None else found[0]

    def restored(self, node: str, index: int, digest: int) -> None:
        """A node goes on from a state that is said to be the one behind an entry, or behind what came after it."""
        known = max((each for each in self._digests if each <= index), default=0)
        if known and self._digests[known][0] != digest:
            self.fail(f"I3: {node} was restored as behind {index}, with another digest than others behind {known}")

    def stamped(self, clock_ms: int, stamped_at_ns: int) -> None:
        """A batch was committed; when it was stamped, and with what. In the order of the log."""
        self.checks += 1
        lead_ns = clock_ms * NS_PER_MS - stamped_at_ns
        if self._least_lead_ns is not None and lead_ns >= self._least_lead_ns + NS_PER_MS:
            gained_ms = (lead_ns - self._least_lead_ns) / NS_PER_MS
            self.fail(f"I7: cluster time gained {gained_ms:.3f} ms on real time, up to the stamp {clock_ms}")
        self._least_lead_ns = lead_ns if self._least_lead_ns is None else min(lead_ns, self._least_lead_ns)
        self._stamps.append((stamped_at_ns, clock_ms))

    def no_majority(self, from_ns: int, to_ns: int, allowance_ms: int) -> None:
        """Between these moments no node could reach a majority. Called when all that was stamped in it is known."""
        self.checks += 1
        before = [stamp for stamp in self._stamps if stamp[0] <= from_ns]
        after = [stamp for stamp in self._stamps if stamp[0] >= to_ns]
        if not before or not after:
            return
        (early_ns, early_ms), (late_ns, late_ms) = before[-1], after[0]
        available_ms = ((late_ns - early_ns) - (to_ns - from_ns)) / NS_PER_MS
        if late_ms - early_ms > available_ms + allowance_ms:
            self.fail(
                f"I7: cluster time advanced by {late_ms - early_ms} ms around {(to_ns - from_ns) / NS_PER_MS:.0f} ms "
                f"without a majority, with one for {available_ms:.0f} ms only"
            )
