"""From a snapshot's rows to tables, and to the indexes that follow from them.

Duty: the one place that knows where rows of each kind belong. It must not know: chunks, checksums, where bytes come from.
"""

from collections.abc import Callable
from itertools import islice
from operator import ge
from typing import Any, TypeVar

import msgspec
from msgspec.structs import force_setattr

from garbagetruck.cluster.machine.brake_records import Breaker
from garbagetruck.cluster.machine.chronicle import Chronicle
from garbagetruck.cluster.machine.codec import Unreadable
from garbagetruck.cluster.machine.digest_notes import DigestNote
from garbagetruck.cluster.machine.kinds import Header, Kind, Row
from garbagetruck.cluster.machine.model import (
    EndedLease,
    Lease,
    Namespace,
    RequestRecord,
    Resource,
    ResourceState,
    Session,
    Tombstone,
)
from garbagetruck.cluster.machine.request_table import RequestKey
from garbagetruck.cluster.machine.state import State
from garbagetruck.cluster.machine.tables import Table

D = TypeVar("D", Lease, Session)

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
    state.level_used = header.format
    state.skipped = header.skipped
    state.quarantine = header.quarantine
    state.incarnation_id = header.incarnation_id
    state.fleet = header.fleet


class Loading:
    """Puts rows into their tables and indexes, for one state. Text that many records have in common is kept once.

    Rows may come from anywhere: the state is nothing to rely on before its digest was compared.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._texts: dict[str, str] = {}
        """Names of namespaces, holders and sessions, each under itself."""
        self._loaders: dict[Kind, Callable[[list[Row]], None]] = {
            Kind.MEMBERS: lambda rows: _put_under_id(state.members, rows),
            Kind.NAMESPACES: self._load_namespaces,
            Kind.LEASES: self._load_leases,
            Kind.SESSIONS: self._load_sessions,
            Kind.RESOURCES: self._load_resources,
            Kind.ENDED_LEASES: self._load_ended_leases,
            Kind.ENDED_SESSIONS: lambda rows: _put_under_id(state.ended_sessions, rows),
            Kind.TOMBSTONES: self._load_tombstones,
            Kind.REQUESTS: self._load_requests,
            Kind.DRAINING: lambda rows: _put_under_id(state.draining, rows),
            Kind.EXPIRED_HOLDERS: self._load_expired_holders,
            Kind.BRAKE_MISSING: self._load_brake_missing,
            Kind.EVENTS: state.events.extend,
            Kind.DIGEST_NOTES: self._load_digest_notes,
            Kind.CHRONICLES: self._load_chronicles,
            Kind.BREAKERS: self._load_breakers,
            Kind.FLEET_MISSING: lambda rows: state.fleet_missing.update(dict.fromkeys(rows)),
        }

    def load(self, kind: Kind, rows: list[Row]) -> None:
        """Put one chunk's rows into their table. Raises `Unreadable` for rows that cannot stand where they do."""
        if kind not in self._loaders:
            raise Unreadable(f"a second {kind.name} chunk")
        try:
            self._loaders[kind](rows)
        except ValueError as error:
            raise Unreadable(f"a snapshot contradicts itself: {error}") from error

    def finish(self) -> None:
        """Every row is loaded. Raises `Unreadable` for what only shows then."""
        try:
            self._state.targets.settle()
        except ValueError as error:
            raise Unreadable(f"a snapshot contradicts itself: {error}") from error

    def _load_namespaces(self, rows: list[Namespace]) -> None:
        for row in rows:
            self._state.namespaces.put(row.name, row)

    def _load_leases(self, rows: list[Lease]) -> None:
        leases, share = self._state.leases, self._texts.setdefault
        _check_rising(leases.last(), [row.token for row in rows])
        for row in rows:
            force_setattr(row, "namespace", share(row.namespace, row.namespace))  # nobody has seen it yet
            force_setattr(row, "holder", share(row.holder, row.holder))
            if row.session_id:
                force_setattr(row, "session_id", share(row.session_id, row.session_id))
        leases.fill(_by_id(rows))
        self._state.index_leases(rows)

    def _load_sessions(self, rows: list[Session]) -> None:
        sessions, share = self._state.sessions, self._texts.setdefault
        _check_rising(sessions.last(), [row.token for row in rows])
        for row in rows:
            force_setattr(row, "namespace", share(row.namespace, row.namespace))
            force_setattr(row, "holder", share(row.holder, row.holder))
        sessions.fill({share(each, each): row for each, row in _by_id(rows).items()})
        for row in rows:
            self._state.index_session(row)

    def _load_resources(self, rows: list[msgspec.Raw]) -> None:
        """Kept as they came: what a resource's table holds is what a snapshot holds."""
        state = self._state
        resources = _decoded(rows)
        _check_rising(state.resources.last(), [each.generation for each in resources])
        began = state.leases.between(resources[0].generation, resources[-1].generation) if resources else {}
        state.resources.fill(resources, [bytes(row) for row in rows], began)
        state.targets.fill([(each.cleanup.target, each.generation) for each in resources if each.cleanup is not None])
        state.index_resources(resources)

    def _load_ended_leases(self, rows: list[EndedLease]) -> None:
        share = self._texts.setdefault
        for row in rows:
            force_setattr(row, "namespace", share(row.namespace, row.namespace))
            force_setattr(row, "holder", share(row.holder, row.holder))
            self._state.ended_leases.put(row.id, row)

    def _load_tombstones(self, rows: list[Tombstone]) -> None:
        for row in rows:
            self._state.tombstones.put((row.namespace, row.name), row)

    def _load_requests(self, rows: list[tuple[RequestKey, RequestRecord]]) -> None:
        for key, record in rows:
            self._state.requests.put(key, record)

    def _load_digest_notes(self, rows: list[DigestNote]) -> None:
        for row in rows:
            self._state.digest_notes.put(row.index, row)

    def _load_chronicles(self, rows: list[Chronicle]) -> None:
        for row in rows:
            self._state.chronicles.put((row.namespace, row.name), row)

    def _load_breakers(self, rows: list[Breaker]) -> None:
        for row in rows:
            self._state.breakers.put(row.handler, row)

    def _load_expired_holders(self, rows: list[tuple[str, list[tuple[str, int]]]]) -> None:
        for name, recent in rows:
            self._state.expired_holders.setdefault(name, {}).update(recent)

    def _load_brake_missing(self, rows: list[tuple[str, list[str]]]) -> None:
        for name, missing in rows:
            self._state.brake_missing.setdefault(name, {}).update(dict.fromkeys(missing))


def _decoded(rows: list[msgspec.Raw]) -> list[Resource]:
    try:
        resources = [_decode_resource(row) for row in rows]
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Unreadable(f"a resource cannot be decoded: {error}") from error
    if any((each.state is ResourceState.CLAIMED) != (each.claim is not None) for each in resources):
        raise Unreadable("a resource is claimed without a claim, or has one without being claimed")
    return resources


def _put_under_id(table: Table[str, Any], rows: list[Row]) -> None:
    for row in rows:
        table.put(row.id, row)


def _by_id(rows: list[D]) -> dict[str, D]:
    found = {row.id: row for row in rows}
    if len(found) != len(rows):
        raise ValueError("one thing is told of twice")
    return found


def _check_rising(last: int, numbers: list[int]) -> None:
    """The digest, being a sum, does not see the order."""
    if numbers and (numbers[0] <= last or any(map(ge, numbers, islice(numbers, 1, None)))):
        raise Unreadable("a snapshot's rows are not in the order of their creation")
