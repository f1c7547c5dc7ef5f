"""Histories told by hand, in milliseconds.

Duty: one short call for each thing that can happen. It must not know: what is right.
"""

from garbagetruck.chaos.history import (
    NS_PER_MS,
    Attempt,
    Burden,
    Disturbance,
    Finding,
    Gone,
    History,
    Left,
    Outcome,
    Sight,
    Verb,
    Written,
)


class Story:
    """A history; every moment is given in milliseconds."""

    def __init__(self) -> None:
        self.history = History()

    def attempt(
        self,
        verb: Verb,
        sent_ms: int,
        ended_ms: int,
        outcome: Outcome = Outcome.OK,
        *,
        node: str = "n1",
        lease: str = "",
        key: str = "",
        request: str = "",
        session: str = "",
        token: int = 0,
        ttl_ms: int = 0,
        remaining_ms: int = 0,
        reason: str = "",
        seen: tuple[str, ...] = (),
    ) -> None:
        self.history.add(
            Attempt(
                client="c",
                verb=verb,
                node=node,
                sent_ns=sent_ms * NS_PER_MS,
                ended_ns=ended_ms * NS_PER_MS,
                outcome=outcome,
                reason=reason,
                request_id=request,
                key=key,
                lease_id=lease,
                session_id=session,
                token=token,
                ttl_ms=ttl_ms,
                remaining_ms=remaining_ms,
                seen=seen,
            )
        )

    def looked(self, key: str, sent_ms: int, ended_ms: int, *leases: str) -> None:
        """At a resource; it had these leases, each made by the request that is named after it."""
        requests = tuple(f"request of {lease}" for lease in leases)
        self.attempt(Verb.LOOK, sent_ms, ended_ms, key=key, seen=requests)

    def acquired(
        self,
        lease: str,
        key: str,
        sent_ms: int,
        ended_ms: int,
        *,
        ttl_ms: int = 1_000,
        token: int = 1,
        request: str = "",
        session: str = "",
    ) -> None:
        self.attempt(
            Verb.ACQUIRE,
            sent_ms,
            ended_ms,
            lease=lease,
            key=key,
            request=request or f"request of {lease}",
            session=session,
            token=token,
            ttl_ms=ttl_ms,
            remaining_ms=ttl_ms,
        )

    def renewed(self, lease: str, sent_ms: int, ended_ms: int, *, ttl_ms: int = 1_000) -> None:
        self.attempt(Verb.RENEW, sent_ms, ended_ms, lease=lease, ttl_ms=ttl_ms, remaining_ms=ttl_ms)

    def session_renewed(self, session: str, sent_ms: int, ended_ms: int, *, ttl_ms: int = 1_000) -> None:
        self.attempt(Verb.RENEW_SESSION, sent_ms, ended_ms, session=session, ttl_ms=ttl_ms, remaining_ms=ttl_ms)

    def released(self, lease: str, sent_ms: int, ended_ms: int, outcome: Outcome = Outcome.OK) -> None:
        self.attempt(Verb.RELEASE, sent_ms, ended_ms, outcome, lease=lease)

    def kept(self, lease: str, sent_ms: int, ended_ms: int, outcome: Outcome = Outcome.OK) -> None:
        self.attempt(Verb.KEEP, sent_ms, ended_ms, outcome, lease=lease)

    def refused(self, verb: Verb, lease: str, sent_ms: int, ended_ms: int, reason: str) -> None:
        self.attempt(verb, sent_ms, ended_ms, Outcome.REFUSED, lease=lease, reason=reason)

    def written(self, key: str, at_ms: int, lease: str = "") -> None:
        self.history.add(Written(client="c", key=key, object_id=f"{key}#1", lease_id=lease, at_ns=at_ms * NS_PER_MS))

    def gone(self, key: str, present_ms: int, absent_ms: int) -> None:
        self.history.add(
            Gone(key=key, object_id=f"{key}#1", present_ns=present_ms * NS_PER_MS, absent_ns=absent_ms * NS_PER_MS)
        )

    def left(self, key: str, at_ms: int) -> None:
        self.history.add(Left(key=key, object_id=f"{key}#1", at_ns=at_ms * NS_PER_MS))

    def seen(self, node: str, index: int, digest: str, *, term: int = 1, role: str = "follower") -> None:
        self._seen(node, index, digest, term, role)

    def told_time(
        self, clock_ms: int, asked_ms: int, at_ms: int, *, node: str = "n1", term: int = 1, role: str = "leader"
    ) -> None:
        """By a node that was asked, and had answered, at these moments."""
        self._seen(node, 7, "aa", term, role, clock_ms=clock_ms, asked_ms=asked_ms, at_ms=at_ms)

    def _seen(
        self,
        node: str,
        index: int,
        digest: str,
        term: int,
        role: str,
        *,
        clock_ms: int = 0,
        asked_ms: int = 0,
        at_ms: int = 0,
    ) -> None:
        self.history.add(
            Sight(
                node=node,
                asked_ns=asked_ms * NS_PER_MS,
                at_ns=at_ms * NS_PER_MS,
                term=term,
                role=role,
                applied_index=index,
                digest=digest,
                clock_ms=clock_ms,
            )
        )

    def fault(
        self,
        began_ms: int,
        healed_ms: int,
        recovered_ms: int,
        *,
        proof: str = "it was seen",
        cut_off: tuple[str, ...] = (),
    ) -> None:
        self.history.add(
            Disturbance(
                fault="fault",
                began_ns=began_ms * NS_PER_MS,
                healed_ns=healed_ms * NS_PER_MS,
                recovered_ns=recovered_ms * NS_PER_MS,
                proof=proof,
                cut_off=cut_off,
            )
        )

    def burden(
        self,
        second: int,
        *,
        pid: int = 1,
        resident_bytes: int = 1 << 26,
        descriptors: int = 40,
        journal_bytes: int = 1 << 20,
    ) -> None:
        self.history.add(
            Burden(
                node="n1",
                pid=pid,
                at_ns=second * 1_000 * NS_PER_MS,
                resident_bytes=resident_bytes,
                descriptors=descriptors,
                threads=10,
                journal_bytes=journal_bytes,
            )
        )

    def found(self, what: str, *, holds: bool) -> None:
        self.history.add(Finding(what=what, holds=holds, at_ns=0))
