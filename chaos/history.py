"""What happened in a run, as those who took part saw it: the one format between what drives a cluster and what judges it.

Duty: records of calls, objects, nodes and faults, and their file.
Invariants: append only; every moment is nanoseconds of one clock that all of a run's observers share, and that no fault
touches; a record says what was seen, never what it means.
Must not know: how a cluster is driven, what is right.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
NEVER_NS = 1 << 62


class Verb(StrEnum):
    """What was asked of the cluster."""

    ACQUIRE = "acquire"
    RENEW = "renew"
    RELEASE = "release"
    KEEP = "keep"
    """A release that takes the resource off the books."""
    READ = "read"
    """Of a lease, linearizable."""
    LOOK = "look"
    """At a resource and all its leases, linearizable."""
    OPEN_SESSION = "open_session"
    RENEW_SESSION = "renew_session"
    CLOSE_SESSION = "close_session"


class Outcome(StrEnum):
    """What a caller knows afterwards."""

    OK = "ok"
    REFUSED = "refused"
    """The cluster decided against it: nothing was changed, and `reason` says why."""
    NOT_APPLIED = "not_applied"
    """Nobody decided anything, and nobody will."""
    UNKNOWN = "unknown"
    """It may have been applied, or may still be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One message to one node, and what came back. A call that is repeated is several, under one `request_id`."""

    client: str
    verb: Verb
    node: str
    sent_ns: int
    ended_ns: int
    outcome: Outcome
    reason: str = ""
    """The API's word, when it was not OK; of a read lease that is over, "ended"."""
    request_id: str = ""
    key: str = ""
    lease_id: str = ""
    session_id: str = ""
    token: int = 0
    ttl_ms: int = 0
    remaining_ms: int = 0
    """Of the lease or session, as answered."""
    term: int = 0
    """That of the answering node."""
    seen: tuple[str, ...] = ()
    """Of a resource that was looked at: the requests that had made its leases."""

    @property
    def ok(self) -> bool:
        return self.outcome is Outcome.OK


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A client made an object, under a lease that it relied on."""

    client: str
    key: str
    object_id: str
    lease_id: str
    at_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """An object that was there at one look, and was not at the next. No client ever removes what it made."""

    key: str
    object_id: str
    present_ns: int
    """A moment at which it was certainly there."""
    absent_ns: int
    """A moment at which it certainly was not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """An object that was there at the very end."""

    key: str
    object_id: str
    at_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """A node, as it said of itself."""

    node: str
    asked_ns: int
    at_ns: int
    """When it had answered."""
    term: int
    role: str
    applied_index: int
    digest: str
    clock_ms: int
    """Cluster time as it knew it, at some moment in between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Burden:
    """What a node's process takes of the machine."""

    node: str
    pid: int
    at_ns: int
    resident_bytes: int
    descriptors: int
    threads: int
    journal_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Disturbance:
    """A fault, from just before it was injected until the cluster had recovered from it."""

    fault: str
    began_ns: int
    healed_ns: int
    recovered_ns: int
    proof: str
    """What shows that it bit. Empty: nothing does."""
    cut_off: tuple[str, ...] = ()
    """Nodes that could reach no majority between `began_ns` and `healed_ns`, and ran on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that a scenario looked at by itself."""

    what: str
    holds: bool
    at_ns: int


Record = Attempt | Written | Gone | Left | Sight | Burden | Disturbance | Finding
RecordT = TypeVar("RecordT", Attempt, Written, Gone, Left, Sight, Burden, Disturbance, Finding)


@dataclass(slots=True)
class History:
    """The records of one run, in the order in which they were made."""

    records: list[Record] = field(default_factory=list)
    foreign: set[str] = field(default_factory=set)
    """Keys of objects that no lease ever named."""
    grace_ms: int = 0
    """How long the cluster leaves an orphan alone."""

    def add(self, record: Record) -> None:
        self.records.append(record)

    def of(self, kind: type[RecordT]) -> Iterator[RecordT]:
        """Those of one kind."""
        return (record for record in self.records if isinstance(record, kind))

    def write(self, path: Path) -> None:
        """One JSON object a line, each with its kind."""
        with path.open("w", encoding="utf-8") as stream:
            for record in self.records:
                line = {"kind": type(record).__name__.lower(), **asdict(record)}
                stream.write(json.dumps(line, ensure_ascii=False) + "\n")
