"""The request table's rows, kept one behind the other as the bytes that the digest and a snapshot are made of.

A request is written with every acquire and looked at again only if it is repeated, or when it has aged out; and a busy
cluster remembers hundreds of thousands. Rows come at the end and leave from the front, and are never replaced. So they
share blocks of bytes, where an object for each key and each record would take twice the room; a key's hash leads to its
row. It must not know: what requests ask for.
"""

from array import array
from collections.abc import Iterator

import msgspec
import xxhash

from garbagetruck.cluster.machine.hashed_numbers import HashedNumbers
from garbagetruck.cluster.machine.model import RequestRecord
from garbagetruck.cluster.machine.table_view import TableView
from garbagetruck.cluster.machine.tables import DIGEST_MASK, DigestSum

RequestKey = tuple[str, str, str]
"""(namespace, who asked: the holder, a session that stands for its holder, or an operator; request_id)."""

BLOCK_ROWS = 512
PAIR = b"\x92"
"""How MessagePack begins an array of two."""

_encode = msgspec.msgpack.Encoder().encode
_decode_key = msgspec.msgpack.Decoder(RequestKey).decode
_decode_record = msgspec.msgpack.Decoder(RequestRecord).decode
_hash_bytes = xxhash.xxh3_64_intdigest


class _Block:
    """The rows from number `first` on, at most `BLOCK_ROWS`."""

    __slots__ = ("_ends", "_rows", "first")

    def __init__(self, first: int) -> None:
        self.first = first
        self._rows: bytearray | bytes = bytearray()
        """Key, record, key, record, ..., all encoded."""
        self._ends = array("I", (0,))
        """Where each of them ends, behind where the first begins."""

    def append(self, key: bytes, record: bytes) -> None:
        rows, ends = self._rows, self._ends
        assert isinstance(rows, bytearray), "a full block takes no more"
        rows += key
        ends.append(len(rows))
        rows += record
        ends.append(len(rows))
        if self.is_full:
            self._rows = bytes(rows)  # without the room to grow

    @property
    def is_full(self) -> bool:
        return len(self._ends) > 2 * BLOCK_ROWS

    def key(self, number: int) -> bytes:
        return self._part(2 * (number - self.first))

    def record(self, number: int) -> bytes:
        return self._part(2 * (number - self.first) + 1)

    def _part(self, place: int) -> bytes:
        return bytes(self._rows[self._ends[place] : self._ends[place + 1]])


class RequestTable:
    """Records by key, the oldest first. What is read is a record like any other: immutable, and the caller's to keep."""

    __slots__ = ("_blocks", "_digest", "_first", "_last", "_numbers", "_others", "_salt", "_view")

    def __init__(self, digest: DigestSum, salt: int) -> None:
        self._digest = digest
        self._salt = salt
        self._blocks: list[_Block] = []
        self._first = 1
        """The number of the oldest row. Numbers have no gaps."""
        self._last = 0
        self._numbers = HashedNumbers()
        """Hash of a key -> number of its row."""
        self._others: dict[bytes, int] = {}
        """Keys whose hash another key has that was there before: as good as none, but a request must not be lost for that."""
        self._view: TableView[int, msgspec.Raw] | None = None

    def __len__(self) -> int:
        return self._last - self._first + 1

    def __contains__(self, key: RequestKey) -> bool:
        return self._find(_encode(key)) is not None

    def get(self, key: RequestKey) -> RequestRecord | None:
        number = self._find(_encode(key))
        return None if number is None else self._record(number)

    def items(self) -> Iterator[tuple[RequestKey, RequestRecord]]:
        return ((_decode_key(self._key(number)), self._record(number)) for number in self._present())

    def values(self) -> Iterator[RequestRecord]:
        return map(self._record, self._present())

    def oldest(self) -> RequestRecord | None:
        return self._record(self._first) if self else None

    def put(self, key: RequestKey, record: RequestRecord) -> None:
        """Add what is not there yet. Raises ValueError when it is."""
        known_as, encoded = _encode(key), _encode(record)
        number = self._last + 1
        if known_as in self._others or not self._numbers.add(_hash_bytes(known_as), number):
            if self._find(known_as) is not None:
                raise ValueError("one request is told of twice")
            self._others[known_as] = number
        if not self._blocks or self._blocks[-1].is_full:
            self._blocks.append(_Block(number))
        self._blocks[-1].append(known_as, encoded)
        self._last = number
        self._count(_hash_bytes(encoded, self._salt))

    def pop_oldest(self) -> None:
        """Forget the oldest, which must be there."""
        number = self._first
        known_as = self._key(number)
        if self._view is not None:
            self._view.keep_gone(number, self._pair(number))
        self._count(-_hash_bytes(self._encoded(number), self._salt))
        if self._others.pop(known_as, None) is None:
            self._numbers.remove(_hash_bytes(known_as))
        self._first += 1
        if self._first == self._blocks[0].first + BLOCK_ROWS:
            del self._blocks[0]

    def view(self) -> TableView[int, msgspec.Raw]:
        """Keys with their records, encoded, to be read in parts. Costs upkeep until `forget_view`; one at a time."""
        assert self._view is None, "one view of a table at a time"
        self._view = TableView(self, self._pair)
        return self._view

    def forget_view(self) -> None:
        self._view = None

    def last(self) -> int:
        """The highest number there ever was, or 0."""
        return self._last

    def after(self, number: int) -> Iterator[tuple[int, int]]:
        """The numbers after `number`, each as what stands under it, for a view to ask by."""
        return ((each, each) for each in range(max(number + 1, self._first), self._last + 1))

    def _present(self) -> range:
        return range(self._first, self._last + 1)

    def _find(self, known_as: bytes) -> int | None:
        number = self._numbers.get(_hash_bytes(known_as))
        if number is not None and self._key(number) == known_as:
            return number
        return self._others.get(known_as) if self._others else None

    def _block(self, number: int) -> _Block:
        """Where that row is. All blocks but the last are full."""
        return self._blocks[(number - self._blocks[0].first) // BLOCK_ROWS]

    def _key(self, number: int) -> bytes:
        return self._block(number).key(number)

    def _encoded(self, number: int) -> bytes:
        return self._block(number).record(number)

    def _record(self, number: int) -> RequestRecord:
        return _decode_record(self._encoded(number))

    def _pair(self, number: int) -> msgspec.Raw:
        """A key and its record, as a snapshot has them."""
        return msgspec.Raw(PAIR + self._key(number) + self._encoded(number))

    def _count(self, change: int) -> None:
        self._digest.value = (self._digest.value + change) & DIGEST_MASK
