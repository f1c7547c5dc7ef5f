"""Containers of the state: digested tables, creation-ordered indexes, small multimaps.

A table is the truth and counts towards the digest; an index is derived from tables and is rebuilt from them.
Iteration order of a table is the order of first insertion, the same on every node and kept by a snapshot.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec
import xxhash
from msgspec.structs import replace
from typing_extensions import override

from garbagetruck.cluster.machine.model import Lease, Record, Session

K = TypeVar("K")
R = TypeVar("R", bound=Record)
D = TypeVar("D", Lease, Session)
V = TypeVar("V")

DIGEST_MASK = (1 << 64) - 1
COMPACTION_MIN = 1_024

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

    def __init__(self, digest: DigestSum, salt: int, *, queue: bool = False) -> None:
        """`queue`: entries leave mostly from the front, where a plain dictionary would step over all that left."""
        self._rows: dict[K, R] = OrderedDict() if queue else {}
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

    def first(self) -> tuple[K, R] | None:
        """The oldest entry, or None."""
        for item in self._rows.items():
            return item
        return None

    def put(self, key: K, record: R) -> None:
        old = self._rows.get(key)
        change = self._hash(record) if old is None else self._hash(record) - self._hash(old)
        self._digest.value = (self._digest.value + change) & DIGEST_MASK
        self._rows[key] = record

    def pop(self, key: K) -> R:
        record = self._rows.pop(key)
        self._digest.value = (self._digest.value - self._hash(record)) & DIGEST_MASK
        return record

    def trim(self, most: int) -> None:
        """Forget the oldest entries past a bound: the same ones on every node."""
        while len(self._rows) > most:
            self.pop(next(iter(self._rows)))

    def _hash(self, record: R) -> int:
        return _hash_bytes(_encode(record), self._salt)


class DeadlineTable(Table[K, D]):
    """Leases or sessions, which are prolonged far more often than anything else happens to them.

    A record's hash is the sum of two: one over what stays, one over what a prolongation changes, together with the
    token, which no two records share. So a prolongation needs to hash three numbers instead of the whole record.
    """

    __slots__ = ()

    def prolong(self, changed: dict[K, D]) -> None:
        """Replace records by ones that differ in TTL and deadline only."""
        rows, salt, change = self._rows, self._salt, 0
        for key, record in changed.items():
            old, rows[key] = rows[key], record
            token = record.token
            change += _hash_bytes(_encode((token, record.ttl_ms, record.deadline_ms)), salt)
            change -= _hash_bytes(_encode((token, old.ttl_ms, old.deadline_ms)), salt)
        self._digest.value = (self._digest.value + change) & DIGEST_MASK

    @override
    def _hash(self, record: D) -> int:
        time = _hash_bytes(_encode((record.token, record.ttl_ms, record.deadline_ms)), self._salt)
        return time + _hash_bytes(_encode(replace(record, ttl_ms=0, deadline_ms=0)), self._salt)


class CreationOrder(Generic[K]):
    """Keys by the ever-rising number they were created under, so that lists can resume after one.

    Removal is lazy: a key that left is skipped by the reader, and dropped once the dead outnumber the living.
    """

    __slots__ = ("_dead", "_keys", "_numbers")

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._keys: list[K | None] = []
        self._dead = 0

    def append(self, number: int, key: K) -> None:
        assert not self._numbers or number > self._numbers[-1], "creation numbers must rise"
        self._numbers.append(number)
        self._keys.append(key)

    def remove(self, number: int) -> None:
        position = bisect_right(self._numbers, number) - 1
        assert position >= 0 and self._numbers[position] == number, "unknown creation number"
        self._keys[position] = None
        self._dead += 1
        if self._dead > COMPACTION_MIN and self._dead * 2 > len(self._numbers):
            living = [(n, k) for n, k in zip(self._numbers, self._keys, strict=True) if k is not None]
            self._numbers = [n for n, _ in living]
            self._keys = [k for _, k in living]
            self._dead = 0

    def after(self, number: int) -> Iterator[tuple[int, K]]:
        """Living keys created after `number`, oldest first."""
        for position in range(bisect_right(self._numbers, number), len(self._numbers)):
            key = self._keys[position]
            if key is not None:
                yield self._numbers[position], key


class Multimap(Generic[K, V]):
    """Key to values in insertion order; a single value costs no container, which is the common case by far."""

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        self._rows: dict[K, V | dict[V, None]] = {}

    def add(self, key: K, value: V) -> bool:
        """Return whether the key is new."""
        old = self._rows.get(key)
        if old is None:
            self._rows[key] = value
            return True
        if isinstance(old, dict):
            old[value] = None
        else:
            self._rows[key] = {old: None, value: None}
        return False

    def discard(self, key: K, value: V) -> bool:
        """Return whether the key has no value left."""
        old = self._rows.get(key)
        if isinstance(old, dict):
            old.pop(value, None)
            if old:
                return False
        elif old != value:
            return old is None
        self._rows.pop(key, None)
        return True

    def count(self, key: K) -> int:
        old = self._rows.get(key)
        if old is None:
            return 0
        return len(old) if isinstance(old, dict) else 1

    def values(self, key: K) -> Iterator[V]:
        old = self._rows.get(key)
        if old is None:
            return
        if isinstance(old, dict):
            yield from old
        else:
            yield old

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: K) -> bool:
        return key in self._rows
