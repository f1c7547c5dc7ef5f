"""The snapshot codec: a state as a header and checksummed, compressed chunks, and back.

One format for a local file, for a follower that is behind, and for an external store. A chunk stands alone: 4 bytes
length, 4 bytes CRC32 (both big-endian, of the compressed body), then the zlib body: `[kind, rows]` in msgpack. The
first chunk is the header, the last one the end marker with the number of chunks before it. Indexes and timers are
not written: they follow from the tables.
"""

import struct
import types
import zlib
from collections.abc import Iterable
from typing import Any

import msgspec

from garbagetruck.cluster.machine import loading
from garbagetruck.cluster.machine.codec import FormatTooNew, Unreadable
from garbagetruck.cluster.machine.features import LEVEL_NEWEST
from garbagetruck.cluster.machine.kinds import ROW_TYPES, Header, Kind, Row
from garbagetruck.cluster.machine.loading import Loading
from garbagetruck.cluster.machine.queries import Queries
from garbagetruck.cluster.machine.state import State

ROWS_PER_CHUNK_MAX = 1_000
CHUNK_BYTES_MAX = 64 * 1024 * 1024
COMPRESSION_LEVEL = 1
PREFIX = struct.Struct(">II")

_encoder = msgspec.msgpack.Encoder()
_kind_decoder = msgspec.msgpack.Decoder(tuple[int, msgspec.Raw])
_row_decoders: dict[Kind, msgspec.msgpack.Decoder[list[Row]]] = {
    kind: msgspec.msgpack.Decoder(types.GenericAlias(list, (row_type,))) for kind, row_type in ROW_TYPES.items()
}


def frame(kind: Kind, rows: list[Row]) -> bytes:
    body = zlib.compress(_encoder.encode((int(kind), rows)), COMPRESSION_LEVEL)
    return PREFIX.pack(len(body), zlib.crc32(body)) + body


class Restoration:
    """A state on its way back: `add` its chunks as they come, then `finish`, and not before use its `state`.

    `level` is the highest feature level whose content is read.
    """

    def __init__(self, level: int = LEVEL_NEWEST) -> None:
        self._level = level
        self.state = State()
        self._loading = Loading(self.state)
        self._header: Header | None = None
        self._seen = 0
        self._ended = False

    @property
    def header(self) -> Header:
        assert self._header is not None, "there was no chunk yet"
        return self._header

    def add(self, chunk: bytes) -> None:
        """The next chunk. Raises `Unreadable` for anything damaged, `FormatTooNew` for a later format."""
        kind, rows = _open(chunk, self._level)
        if self._ended:
            raise Unreadable("a snapshot goes on after its end marker")
        if self._header is None:
            if kind is not Kind.HEADER:
                raise Unreadable("a snapshot begins with its header")
            if len(rows) != 1:
                raise Unreadable(f"a snapshot has one header, not {len(rows)}")
            self._header = rows[0]
            loading.start(self.state, rows[0])
        elif kind is Kind.END:
            self._ended = rows == [self._seen]
            if not self._ended:
                raise Unreadable(f"a snapshot of {rows} chunks has {self._seen}")
        else:
            self._loading.load(kind, rows)
        self._seen += 1

    def finish(self) -> None:
        """Verify the whole. Raises `Unreadable`."""
        if self._header is None or not self._ended:
            raise Unreadable("a snapshot is cut short")
        self._loading.finish()
        if Queries(self.state).digest() != self._header.digest:
            raise Unreadable("a snapshot's content does not have the digest that its header tells")


def read(chunks: Iterable[bytes], level: int = LEVEL_NEWEST) -> tuple[Header, State]:
    """Rebuild a state at once. Raises `Unreadable` for anything damaged or cut short, `FormatTooNew` for a later format."""
    restoration = Restoration(level)
    for chunk in chunks:
        restoration.add(chunk)
    restoration.finish()
    return restoration.header, restoration.state


def _open(chunk: bytes, level: int) -> tuple[Kind, list[Row]]:
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
            _refuse_newer(raw, level)
        kind = Kind(number)
        return kind, _row_decoders[kind].decode(raw)
    except (zlib.error, msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Unreadable(f"a chunk cannot be decoded: {error}") from error


def _refuse_newer(raw: msgspec.Raw, level: int) -> None:
    for header in msgspec.msgpack.decode(raw, type=list[dict[str, Any]]):
        written = header.get("format")
        if isinstance(written, int) and written > level:
            raise FormatTooNew("snapshot", written, level)
