"""The request table's rows, kept as the bytes that the digest and a snapshot are made of.

A request is written with every acquire and looked at again only if it is repeated, or when it has aged out; as objects
its key and record would take more than twice the room, and a busy cluster remembers hundreds of thousands. It is otherwise
a table like the others, numbered by itself. A row is never replaced. It must not know: what requests ask for.
"""

from collections.abc import Iterator

import msgspec
import xxhash

from garbagetruck.cluster.machine.model import RequestRecord
from garbagetruck.cluster.machine.order import CreationOrder
from garbagetruck.cluster.machine.table_view import TableView
from garbagetruck.cluster.machine.tables import DIGEST_MASK, DigestSum

RequestKey = tuple[str, str, str]
"""(namespace, who asked: the holder, a session that stands for its holder, or an operator; request_id)."""

NUMBER_BYTES = 8
"""A row begins with its number, then comes its record."""
PAIR = b"\x92"
"""How MessagePack begins an array of two."""

_encode = msgspec.msgpack.Encoder().encode
_decode_key = msgspec.msgpack.Decoder(RequestKey).decode
_decode_record = msgspec.msgpack.Decoder(RequestRecord).decode
_hash_bytes = xxhash.xxh3_64_intdigest


class RequestTable:
    """Records by key, the oldest first. What is read is a record like any other: immutable, and the caller's to keep."""

    __slots__ = ("_digest", "_last", "_order", "_rows", "_salt", "_view")

    def __init__(self, digest: DigestSum, salt: int) -> None:
        self._digest = digest
        self._salt = salt
        self._rows: dict[bytes, bytes] = {}
        self._order: CreationOrder[bytes] = CreationOrder()
        self._last = 0
        self._view: TableView[bytes, msgspec.Raw] | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: RequestKey) -> bool:
        return _encode(key) in self._rows

    def get(self, key: RequestKey) -> RequestRecord | None:
        row = self._rows.get(_encode(key))
        return None if row is None else _record_of(row)

    def items(self) -> Iterator[tuple[RequestKey, RequestRecord]]:
        return ((_decode_key(key), _record_of(row)) for key, row in self._rows.items())

    def values(self) -> Iterator[RequestRecord]:
        return map(_record_of, self._rows.values())

    def first(self) -> tuple[RequestKey, RequestRecord] | None:
        """The oldest entry, or None."""
        first = self._order.first()
        return None if first is None else (_decode_key(first[1]), _record_of(self._rows[first[1]]))

    def put(self, key: RequestKey, record: RequestRecord) -> None:
        """Add what is not there yet. Raises ValueError when it is."""
        known_as, encoded = _encode(key), _encode(record)
        if known_as in self._rows:
            raise ValueError("one request is told of twice")
        self._last += 1
        self._order.append(self._last, known_as)
        self._rows[known_as] = self._last.to_bytes(NUMBER_BYTES) + encoded
        self._count(_hash_bytes(encoded, self._salt))

    def pop(self, key: RequestKey) -> None:
        known_as = _encode(key)
        row = self._rows.pop(known_as)
        number = int.from_bytes(row[:NUMBER_BYTES])
        if self._view is not None:
            self._view.keep_gone(number, _pair_of(known_as, row))
        self._order.remove(number)
        self._count(-_hash_bytes(row[NUMBER_BYTES:], self._salt))

    def view(self) -> TableView[bytes, msgspec.Raw]:
        """Keys with their records, encoded, to be read in parts. Costs upkeep until `forget_view`; one at a time."""
        assert self._view is None, "one view of a table at a time"
        rows = self._rows
        self._view = TableView(self._order, lambda key: _pair_of(key, rows[key]))
        return self._view

    def forget_view(self) -> None:
        self._view = None

    def _count(self, change: int) -> None:
        self._digest.value = (self._digest.value + change) & DIGEST_MASK


def _pair_of(key: bytes, row: bytes) -> msgspec.Raw:
    """A key and its record, as a snapshot has them."""
    return msgspec.Raw(PAIR + key + row[NUMBER_BYTES:])


def _record_of(row: bytes) -> RequestRecord:
    return _decode_record(row[NUMBER_BYTES:])
