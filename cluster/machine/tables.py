"""The state's tables: records under their keys, counted towards the digest, readable as they were at one moment.

A table is the truth; an index is derived from tables and is rebuilt from them. Iteration order of a table is the order
of first insertion, the same on every node and kept by a snapshot.
"""

from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec
import xxhash
from msgspec.structs import replace
from typing_extensions import override

from garbagetruck.cluster.machine.model import Lease, Member, Record, Session
from garbagetruck.cluster.machine.order import CreationOrder
from garbagetruck.cluster.machine.table_view import TableView

K = TypeVar("K")
R = TypeVar("R", bound=Record)
D = TypeVar("D", Lease, Session)

DIGEST_MASK = (1 << 64) - 1

_encode = msgspec.msgpack.Encoder().encode
_hash_bytes = xxhash.xxh3_64_intdigest


class DigestSum:
    """Sum of all record hashes modulo 2**64: order-free, so it can follow every change in constant time."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class Table(Generic[K, R]):
    """A dictionary of records that keeps the shared digest up to date. Records are replaced, never mutated."""

    __slots__ = ("_digest", "_rows", "_salt")

    def __init__(self, digest: DigestSum, salt: int) -> None:
        self._rows: dict[K, R] = {}
        self._digest = digest
        self._salt = salt

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: K) -> bool:
        return key in self._rows

    def __iter__(self) -> Iterator[K]:
        return iter(self._rows)

    def get(self, key: K) -> R | None:
        return self._rows.get(key)

    def __getitem__(self, key: K) -> R:
        return self._rows[key]

    def values(self) -> Iterator[R]:
        return iter(self._rows.values())

    def items(self) -> Iterator[tuple[K, R]]:
        return iter(self._rows.items())

    def put(self, key: K, record: R) -> None:
        old = self._rows.get(key)
        self._count(self._hash(record) if old is None else self._hash(record) - self._hash(old))
        self._rows[key] = record

    def pop(self, key: K) -> R:
        """Remove a row that is there."""
        record = self._rows.pop(key)
        self._count(-self._hash(record))
        return record

    def _count(self, change: int) -> None:
        self._digest.value = (self._digest.value + change) & DIGEST_MASK

    def _hash(self, record: R) -> int:
        return _hash_bytes(_encode(record), self._salt)


class MemberTable(Table[str, Member]):
    """The members, each counted as it is written."""

    __slots__ = ()

    @override
    def _hash(self, record: Member) -> int:
        return _hash_bytes(_encode(record.written()), self._salt)


class NumberedTable(Table[K, R]):
    """A table whose every row has an ever-rising number of its own, from its first insertion to its removal.

    So a list can resume after a number, and a snapshot can be taken in parts: see `TableView`.
    """

    __slots__ = ("_order", "_view")

    def __init__(self, digest: DigestSum, salt: int) -> None:
        super().__init__(digest, salt)
        self._order: CreationOrder[K] = CreationOrder()
        self._view: TableView[K, R] | None = None

    def _enter(self, key: K, record: R) -> int:
        """The number of a new row."""
        raise NotImplementedError

    def _number(self, key: K, record: R) -> int:
        raise NotImplementedError

    @override
    def put(self, key: K, record: R) -> None:
        old, change = self._rows.get(key), self._hash(record)
        if old is None:
            self._order.append(self._enter(key, record), key)
        else:
            change -= self._hash(old)
            if self._view is not None:
                self._view.keep(self._number(key, old), old)
        self._digest.value = (self._digest.value + change) & DIGEST_MASK
        self._rows[key] = record

    @override
    def pop(self, key: K) -> R:
        record = self._rows.pop(key)
        number = self._number(key, record)
        if self._view is not None:
            self._view.keep_gone(number, record)
        self._order.remove(number)
        self._digest.value = (self._digest.value - self._hash(record)) & DIGEST_MASK
        return record

    def last(self) -> int:
        """The highest number there ever was, or 0."""
        return self._order.last()

    def after(self, number: int) -> Iterator[tuple[int, K]]:
        """Numbers and keys of what was inserted after `number`, oldest first. Read before anything changes."""
        return self._order.after(number)

    def between(self, first: int, last: int) -> dict[int, R]:
        """Rows by their numbers, of those from `first` to `last`, both included."""
        rows, found = self._rows, dict[int, R]()
        for number, key in self._order.after(first - 1):
            if number > last:
                break
            found[number] = rows[key]
        return found

    def view(self) -> TableView[K, R]:
        """The table as it is now, to be read in parts. Costs upkeep until `forget_view`; there is one at a time."""
        assert self._view is None, "one view of a table at a time"
        self._view = TableView(self._order, self._rows.__getitem__)
        return self._view

    def forget_view(self) -> None:
        self._view = None


class QueueTable(NumberedTable[K, R]):
    """Numbers its rows itself. For what leaves mostly from the front, the oldest first."""

    __slots__ = ("_entered", "_numbers")

    def __init__(self, digest: DigestSum, salt: int) -> None:
        super().__init__(digest, salt)
        self._entered = 0
        self._numbers: dict[K, int] = {}

    def first(self) -> tuple[K, R] | None:
        """The oldest entry, or None."""
        first = self._order.first()
        return None if first is None else (first[1], self._rows[first[1]])

    def trim(self, most: int) -> None:
        """Forget the oldest entries past a bound: the same ones on every node."""
        while len(self._rows) > most:
            first = self._order.first()
            assert first is not None, "the order has a key for each row"
            self.pop(first[1])

    @override
    def pop(self, key: K) -> R:
        record = super().pop(key)
        del self._numbers[key]
        return record

    @override
    def _enter(self, key: K, record: R) -> int:
        self._entered += 1
        self._numbers[key] = self._entered
        return self._entered

    @override
    def _number(self, key: K, record: R) -> int:
        return self._numbers[key]


class DeadlineTable(NumberedTable[K, D]):
    """Leases or sessions, which are prolonged far more often than anything else happens to them.

    A record's hash is the sum of two: one over what stays, one over what a prolongation changes, together with the
    token, which no two records share. So a prolongation needs to hash three numbers instead of the whole record.
    A row's number is its token.
    """

    __slots__ = ()

    def fill(self, added: dict[K, D]) -> None:
        """As many times `put`, of rows in the order of their tokens. Raises ValueError when one is not new."""
        if not self._rows.keys().isdisjoint(added):
            raise ValueError("one thing is told of twice")
        salt, change = self._salt, 0
        for row in added.values():
            change += _hash_bytes(_encode((row.token, row.ttl_ms, row.deadline_ms)), salt)
            change += _hash_bytes(_encode(replace(row, ttl_ms=0, deadline_ms=0)), salt)
        self._count(change)
        self._rows |= added
        self._order.extend([row.token for row in added.values()], list(added))

    def prolong(self, changed: dict[K, D]) -> None:
        """Replace records by ones that differ in TTL and deadline only."""
        rows, salt, change = self._rows, self._salt, 0
        if self._view is not None:
            for key in changed:
                self._view.keep(rows[key].token, rows[key])
        for key, record in changed.items():
            old, rows[key] = rows[key], record
            token = record.token
            change += _hash_bytes(_encode((token, record.ttl_ms, record.deadline_ms)), salt)
            change -= _hash_bytes(_encode((token, old.ttl_ms, old.deadline_ms)), salt)
        self._count(change)

    @override
    def _enter(self, key: K, record: D) -> int:
        return record.token

    @override
    def _number(self, key: K, record: D) -> int:
        return record.token

    @override
    def _hash(self, record: D) -> int:
        time = _hash_bytes(_encode((record.token, record.ttl_ms, record.deadline_ms)), self._salt)
        return time + _hash_bytes(_encode(replace(record, ttl_ms=0, deadline_ms=0)), self._salt)
