"""The snapshot codec: a state as a header and checksummed, compressed chunks, and back.

One format for a local file, for a follower that is behind, and for an external store. A chunk stands alone: 4 bytes
length, 4 bytes CRC32 (both big-endian, of the compressed body), then the zlib body: `[kind, rows]` in msgpack. The
first chunk is the header, the last one the end marker with the number of chunks before it. Indexes and timers are
not written: they follow from the tables.
"""

import struct
import types
import zlib
from collections.abc import Iterable, Iterator
from enum import IntEnum
from itertools import pairwise
from typing import Any

import msgspec

from garbagetruck.cluster.machine.codec import FormatTooNew, Unreadable
from garbagetruck.cluster.machine.model import (
    Bounds,
    EndedLease,
    EndedSession,
    Event,
    Lease,
    Member,
    Namespace,
    RequestRecord,
    Resource,
    ResourceKey,
    Session,
    Tombstone,
)
from garbagetruck.cluster.machine.queries import Queries
from garbagetruck.cluster.machine.state import RequestKey, State

SNAPSHOT_FORMAT = 1
ROWS_PER_CHUNK_MAX = 2_000
CHUNK_BYTES_MAX = 64 * 1024 * 1024
COMPRESSION_LEVEL = 1
PREFIX = struct.Struct(">II")


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
    END = 99


class Header(msgspec.Struct, frozen=True):
    """What a snapshot is of. Named fields: a later version may add some."""

    format: int
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


Row = Any  # a row's type is its chunk's kind; it is checked when decoded
_ROW_TYPES: dict[Kind, Any] = {
    Kind.HEADER: Header,
    Kind.MEMBERS: Member,
    Kind.NAMESPACES: Namespace,
    Kind.LEASES: Lease,
    Kind.SESSIONS: Session,
    Kind.RESOURCES: Resource,
    Kind.ENDED_LEASES: EndedLease,
    Kind.ENDED_SESSIONS: EndedSession,
    Kind.TOMBSTONES: Tombstone,
    Kind.REQUESTS: tuple[RequestKey, RequestRecord],
    Kind.DRAINING: EndedSession,
    Kind.EXPIRED_HOLDERS: tuple[str, list[tuple[str, int]]],
    Kind.BRAKE_MISSING: tuple[str, list[str]],
    Kind.EVENTS: Event,
    Kind.END: int,
}
_encoder = msgspec.msgpack.Encoder()
_kind_decoder = msgspec.msgpack.Decoder(tuple[int, msgspec.Raw])
_row_decoders: dict[Kind, msgspec.msgpack.Decoder[list[Row]]] = {
    kind: msgspec.msgpack.Decoder(types.GenericAlias(list, (row_type,))) for kind, row_type in _ROW_TYPES.items()
}


def write(state: State, applied_index: int, term: int) -> Iterator[bytes]:
    """Encode a state chunk by chunk. The state must not change until the iterator is exhausted."""
    header = Header(
        SNAPSHOT_FORMAT,
        state.cluster_id,
        state.incarnation,
        applied_index,
        term,
        state.clock_ms,
        Queries(state).digest(),
        state.epoch,
        state.leader,
        state.token_counter,
        state.event_index,
        state.cleanups_paused,
        state.cleanups_pause_reason,
        state.bounds,
    )
    count = 0
    for kind, rows in _parts(state, header):
        for part in _slices(rows):
            count += 1
            yield _frame(kind, part)
    yield _frame(Kind.END, [count])


def _parts(state: State, header: Header) -> Iterator[tuple[Kind, Iterable[Row]]]:
    yield Kind.HEADER, [header]
    yield Kind.MEMBERS, state.members.values()
    yield Kind.NAMESPACES, state.namespaces.values()
    yield Kind.SESSIONS, state.sessions.values()
    yield Kind.LEASES, state.leases.values()
    yield Kind.RESOURCES, state.resources.values()
    yield Kind.ENDED_LEASES, state.ended_leases.values()
    yield Kind.ENDED_SESSIONS, state.ended_sessions.values()
    yield Kind.TOMBSTONES, state.tombstones.values()
    yield Kind.REQUESTS, state.requests.items()
    yield Kind.DRAINING, state.draining.values()
    yield Kind.EXPIRED_HOLDERS, ((name, list(recent.items())) for name, recent in state.expired_holders.items())
    yield Kind.BRAKE_MISSING, ((name, list(missing)) for name, missing in state.brake_missing.items())
    yield Kind.EVENTS, state.events


def _slices(rows: Iterable[Row]) -> Iterator[list[Row]]:
    part: list[Row] = []
    for row in rows:
        part.append(row)
        if len(part) == ROWS_PER_CHUNK_MAX:
            yield part
            part = []
    if part:
        yield part


def _frame(kind: Kind, rows: list[Row]) -> bytes:
    body = zlib.compress(_encoder.encode((int(kind), rows)), COMPRESSION_LEVEL)
    return PREFIX.pack(len(body), zlib.crc32(body)) + body


def read(chunks: Iterable[bytes]) -> tuple[Header, State]:
    """Rebuild a state. Raises `Unreadable` for anything damaged or cut short, `FormatTooNew` for a later format."""
    header: Header | None = None
    state = State()
    ended = False
    for seen, chunk in enumerate(chunks):
        kind, rows = _open(chunk)
        if ended:
            raise Unreadable("a snapshot goes on after its end marker")
        if header is None:
            if kind is not Kind.HEADER:
                raise Unreadable("a snapshot begins with its header")
            if len(rows) != 1:
                raise Unreadable(f"a snapshot has one header, not {len(rows)}")
            header = rows[0]
            _start(state, header)
        elif kind is Kind.END:
            ended = rows == [seen]
            if not ended:
                raise Unreadable(f"a snapshot of {rows} chunks has {seen}")
        else:
            _load(state, kind, rows)
    if header is None or not ended:
        raise Unreadable("a snapshot is cut short")
    if Queries(state).digest() != header.digest:
        raise Unreadable("a snapshot's content does not have the digest that its header tells")
    _check_order(state)  # which the digest does not see, being a sum
    _index(state)
    return header, state


def _open(chunk: bytes) -> tuple[Kind, list[Row]]:
    if len(chunk) < PREFIX.size:
        raise Unreadable("a chunk is shorter than its prefix")
    length, checksum = PREFIX.unpack_from(chunk)
    body = memoryview(chunk)[PREFIX.size :]
    if length != len(body) or zlib.crc32(body) != checksum:
        raise Unreadable("a chunk's length or checksum is wrong")
    try:
        unpacker = zlib.decompressobj()
        plain = unpacker.decompress(body, CHUNK_BYTES_MAX)
        if unpacker.unconsumed_tail or not unpacker.eof:
            raise Unreadable(f"a chunk is larger than {CHUNK_BYTES_MAX} bytes")
        number, raw = _kind_decoder.decode(plain)
        if number == Kind.HEADER:
            _refuse_newer(raw)
        kind = Kind(number)
        return kind, _row_decoders[kind].decode(raw)
    except (zlib.error, msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Unreadable(f"a chunk cannot be decoded: {error}") from error


def _refuse_newer(raw: msgspec.Raw) -> None:
    for header in msgspec.msgpack.decode(raw, type=list[dict[str, Any]]):
        written = header.get("format")
        if isinstance(written, int) and written > SNAPSHOT_FORMAT:
            raise FormatTooNew(f"snapshot of format {written}, this node reads up to {SNAPSHOT_FORMAT}")


def _start(state: State, header: Header) -> None:
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


def _load(state: State, kind: Kind, rows: list[Row]) -> None:
    tables: dict[Kind, Any] = {
        Kind.MEMBERS: state.members,
        Kind.NAMESPACES: state.namespaces,
        Kind.LEASES: state.leases,
        Kind.SESSIONS: state.sessions,
        Kind.RESOURCES: state.resources,
        Kind.ENDED_LEASES: state.ended_leases,
        Kind.ENDED_SESSIONS: state.ended_sessions,
        Kind.TOMBSTONES: state.tombstones,
        Kind.DRAINING: state.draining,
    }
    if kind in tables:
        table = tables[kind]
        for row in rows:
            table.put(_key(kind, row), row)
    elif kind is Kind.REQUESTS:
        for request_key, record in rows:
            state.requests.put(request_key, record)
    elif kind is Kind.EXPIRED_HOLDERS:
        for name, recent in rows:
            state.expired_holders[name] = dict(recent)
    elif kind is Kind.BRAKE_MISSING:
        for name, missing in rows:
            state.brake_missing[name] = dict.fromkeys(missing)
    elif kind is Kind.EVENTS:
        state.events.extend(rows)
    else:
        raise Unreadable(f"a second {kind.name} chunk")


def _key(kind: Kind, row: Row) -> str | ResourceKey:
    if kind is Kind.NAMESPACES:
        return str(row.name)
    if kind in (Kind.RESOURCES, Kind.TOMBSTONES):
        return (row.namespace, row.name)
    return str(row.id)


def _check_order(state: State) -> None:
    leases, sessions = state.leases.values(), state.sessions.values()
    numbers = ([each.token for each in leases], [each.token for each in sessions])
    for rising in (*numbers, [each.generation for each in state.resources.values()]):
        if any(after <= before for before, after in pairwise(rising)):
            raise Unreadable("a snapshot's rows are not in the order of their creation")


def _index(state: State) -> None:
    """Derive what the tables imply. Tables keep their order, so creation numbers rise."""
    for session in state.sessions.values():
        state.index_session(session)
    for lease in state.leases.values():
        state.index_lease(lease)
    for resource in state.resources.values():
        state.index_resource(resource)
