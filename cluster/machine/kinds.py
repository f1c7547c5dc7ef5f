"""What a snapshot is made of: its header, and the kinds of rows that follow.

Numbers are never used again for something else: older snapshots tell them.
"""

from enum import IntEnum
from typing import Any

import msgspec

from garbagetruck.cluster.machine.brake_records import Breaker, FleetBrake
from garbagetruck.cluster.machine.chronicle import Chronicle
from garbagetruck.cluster.machine.digest_notes import DigestNote
from garbagetruck.cluster.machine.model import (
    Bounds,
    EndedLease,
    EndedSession,
    Event,
    Lease,
    Member,
    Namespace,
    RequestRecord,
    Session,
    Tombstone,
)
from garbagetruck.cluster.machine.quarantine import Quarantine
from garbagetruck.cluster.machine.request_table import RequestKey


class Kind(IntEnum):
    HEADER = 0
    MEMBERS = 1
    NAMESPACES = 2
    LEASES = 3
    SESSIONS = 4
    RESOURCES = 5
    ENDED_LEASES = 6
    ENDED_SESSIONS = 7
    TOMBSTONES = 8
    REQUESTS = 9
    DRAINING = 10
    EXPIRED_HOLDERS = 11
    BRAKE_MISSING = 12
    EVENTS = 13
    DIGEST_NOTES = 14
    CHRONICLES = 15
    BREAKERS = 20
    FLEET_MISSING = 21
    END = 99


class Header(msgspec.Struct, frozen=True):
    """What a snapshot is of. Named fields: a later version may add some."""

    format: int
    """The feature level that its content needs."""
    cluster_id: str
    incarnation: int
    applied_index: int
    term: int
    clock_ms: int
    digest: int
    epoch: int
    leader: str
    token_counter: int
    event_index: int
    cleanups_paused: bool
    cleanups_pause_reason: str
    bounds: Bounds
    skipped: tuple[tuple[int, int], ...] = ()
    quarantine: Quarantine | None = None
    incarnation_id: str = ""
    fleet: FleetBrake | None = None


Row = Any  # a row's type is its chunk's kind; it is checked when decoded
ROW_TYPES: dict[Kind, Any] = {
    Kind.HEADER: Header,
    Kind.MEMBERS: Member,
    Kind.NAMESPACES: Namespace,
    Kind.LEASES: Lease,
    Kind.SESSIONS: Session,
    Kind.RESOURCES: msgspec.Raw,  # kept as it comes, and checked by who loads it
    Kind.ENDED_LEASES: EndedLease,
    Kind.ENDED_SESSIONS: EndedSession,
    Kind.TOMBSTONES: Tombstone,
    Kind.REQUESTS: tuple[RequestKey, RequestRecord],
    Kind.DRAINING: EndedSession,
    Kind.EXPIRED_HOLDERS: tuple[str, list[tuple[str, int]]],
    Kind.BRAKE_MISSING: tuple[str, list[str]],
    Kind.EVENTS: Event,
    Kind.DIGEST_NOTES: DigestNote,
    Kind.CHRONICLES: Chronicle,
    Kind.BREAKERS: Breaker,
    Kind.FLEET_MISSING: tuple[str, str],
    Kind.END: int,
}
