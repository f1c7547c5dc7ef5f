"""From a snapshot's rows to tables, and from tables to what follows from them.

Duty: the one place that knows where rows of each kind belong. It must not know: chunks, checksums, where bytes come from.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from sys import intern
from typing import Any

import msgspec
from msgspec.structs import force_setattr

from garbagetruck.cluster.machine.codec import Unreadable
from garbagetruck.cluster.machine.kinds import Header, Kind, Row
from garbagetruck.cluster.machine.model import (
    EndedLease,
    Lease,
    Namespace,
    RequestRecord,
    Resource,
    Session,
    Tombstone,
)
from garbagetruck.cluster.machine.state import RequestKey, State
from garbagetruck.cluster.machine.tables import Table

Loader = Callable[[State, list[Row]], None]
_decode_resource = msgspec.msgpack.Decoder(Resource).decode


def start(state: State, header: Header) -> None:
    state.cluster_id = header.cluster_id
    state.incarnation = header.incarnation
    state.clock_ms = header.clock_ms
    state.epoch = header.epoch
    state.leader = header.leader
    state.token_counter = header.token_counter
    state.event_index = header.event_index
    state.cleanups_paused = header.cleanups_paused
    state.cleanups_pause_reason = header.cleanups_pause_reason
    state.bounds = header.bounds


def load(state: State, kind: Kind, rows: list[Row]) -> None:
    """Put one chunk's rows into their table. Raises `Unreadable` for rows that cannot stand where they do."""
    if kind in (Kind.HEADER, Kind.END):
        raise Unreadable(f"a second {kind.name} chunk")
    _LOADERS[kind](state, rows)


def _load_leases(state: State, rows: list[Lease]) -> None:
    _check_rising(state.leases.last(), [row.token for row in rows])
    for row in rows:
        state.leases.put(row.id, _sharing(row, "namespace", "holder", "session_id"))


def _load_sessions(state: State, rows: list[Session]) -> None:
    _check_rising(state.sessions.last(), [row.token for row in rows])
    for row in rows:
        state.sessions.put(row.id, _sharing(row, "namespace", "holder"))


def _load_resources(state: State, rows: list[msgspec.Raw]) -> None:
    """Kept as they came: what a resource's table holds is what a snapshot holds."""
    try:
        decoded = [_decode_resource(row) for row in rows]
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Unreadable(f"a resource cannot be decoded: {error}") from error
    _check_rising(state.resources.last(), [resource.generation for resource in decoded])
    for resource, row in zip(decoded, rows, strict=True):
        key = (intern(resource.namespace), resource.name)
        lease = state.leases.get(resource.leases[0]) if resource.leases else None
        if lease is not None and lease.resource == resource.name:
            key = (key[0], lease.resource)  # the same text, kept once
        state.resources.put_encoded(key, resource, bytes(row))


def _load_ended_leases(state: State, rows: list[EndedLease]) -> None:
    for row in rows:
        state.ended_leases.put(row.id, _sharing(row, "namespace", "holder", "session_id"))


def _load_tombstones(state: State, rows: list[Tombstone]) -> None:
    for row in rows:
        state.tombstones.put((row.namespace, row.name), row)


def _load_requests(state: State, rows: list[tuple[RequestKey, RequestRecord]]) -> None:
    for key, record in rows:
        state.requests.put(key, record)


def _load_expired_holders(state: State, rows: list[tuple[str, list[tuple[str, int]]]]) -> None:
    for name, recent in rows:
        state.expired_holders.setdefault(name, {}).update(recent)


def _load_brake_missing(state: State, rows: list[tuple[str, list[str]]]) -> None:
    for name, missing in rows:
        state.brake_missing.setdefault(name, {}).update(dict.fromkeys(missing))


def _load_namespaces(state: State, rows: list[Namespace]) -> None:
    for row in rows:
        state.namespaces.put(row.name, row)


def _load_under_id(table_of: Callable[[State], Table[str, Any]]) -> Loader:
    def load(state: State, rows: list[Row]) -> None:
        table = table_of(state)
        for row in rows:
            table.put(row.id, row)

    return load


_LOADERS: dict[Kind, Loader] = {
    Kind.MEMBERS: _load_under_id(lambda state: state.members),
    Kind.NAMESPACES: _load_namespaces,
    Kind.LEASES: _load_leases,
    Kind.SESSIONS: _load_sessions,
    Kind.RESOURCES: _load_resources,
    Kind.ENDED_LEASES: _load_ended_leases,
    Kind.ENDED_SESSIONS: _load_under_id(lambda state: state.ended_sessions),
    Kind.TOMBSTONES: _load_tombstones,
    Kind.REQUESTS: _load_requests,
    Kind.DRAINING: _load_under_id(lambda state: state.draining),
    Kind.EXPIRED_HOLDERS: _load_expired_holders,
    Kind.BRAKE_MISSING: _load_brake_missing,
    Kind.EVENTS: lambda state, rows: state.events.extend(rows),
}


def _sharing(row: Row, *fields: str) -> Row:
    """The same record, sharing text that many records have in common. Nobody has seen it yet, so it may be touched."""
    for field in fields:
        force_setattr(row, field, intern(getattr(row, field)))
    return row


def _check_rising(last: int, numbers: list[int]) -> None:
    """The digest, being a sum, does not see the order."""
    if any(after <= before for before, after in pairwise((last, *numbers))):
        raise Unreadable("a snapshot's rows are not in the order of their creation")


def index(state: State) -> Iterator[None]:
    """Derive what the tables imply, a row at a time."""
    for session in state.sessions.values():
        state.index_session(session)
        yield
    for lease in state.leases.values():
        state.index_lease(lease)
        yield
    for key, resource in state.resources.items():
        state.index_resource(key, resource)
        yield
