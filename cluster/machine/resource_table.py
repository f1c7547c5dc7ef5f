"""The table of resources, kept as the bytes that the digest and a snapshot are made of.

A resource is written when it is leased, orphaned and cleaned, and seldom read between; as an object with its strings,
tuples and numbers it would take three times the room. It is otherwise a table like the others, numbered by generation.
It must not know: what a resource's state means.
"""

from collections.abc import Iterator

import msgspec
import xxhash

from garbagetruck.cluster.machine.model import Resource, ResourceKey
from garbagetruck.cluster.machine.order import CreationOrder
from garbagetruck.cluster.machine.table_view import TableView
from garbagetruck.cluster.machine.tables import DIGEST_MASK, DigestSum

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Resource).decode
_hash_bytes = xxhash.xxh3_64_intdigest


class ResourceTable:
    """Resources by (namespace, name). What is read is a record like any other: immutable, and the caller's to keep."""

    __slots__ = ("_digest", "_latest", "_order", "_rows", "_salt", "_view")

    def __init__(self, digest: DigestSum, salt: int) -> None:
        self._digest = digest
        self._salt = salt
        self._rows: dict[ResourceKey, bytes] = {}
        self._order: CreationOrder[ResourceKey] = CreationOrder()
        self._view: TableView[ResourceKey, bytes] | None = None
        self._latest: tuple[ResourceKey, Resource] | None = None
        """What was read or written last: one operation looks at the same resource several times."""

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: ResourceKey) -> bool:
        return key in self._rows

    def __iter__(self) -> Iterator[ResourceKey]:
        return iter(self._rows)

    def get(self, key: ResourceKey) -> Resource | None:
        latest = self._latest
        if latest is not None and latest[0] == key:
            return latest[1]
        row = self._rows.get(key)
        if row is None:
            return None
        resource = _decode(row)
        self._latest = (key, resource)
        return resource

    def __getitem__(self, key: ResourceKey) -> Resource:
        resource = self.get(key)
        if resource is None:
            raise KeyError(key)
        return resource

    def values(self) -> Iterator[Resource]:
        return map(_decode, self._rows.values())

    def items(self) -> Iterator[tuple[ResourceKey, Resource]]:
        return ((key, _decode(row)) for key, row in self._rows.items())

    def put(self, key: ResourceKey, resource: Resource) -> None:
        row, old = _encode(resource), self._rows.get(key)
        change = _hash_bytes(row, self._salt)
        if old is None:
            self._order.append(resource.generation, key)
        else:
            change -= _hash_bytes(old, self._salt)
            if self._view is not None:
                self._view.keep(resource.generation, old)
        self._digest.value = (self._digest.value + change) & DIGEST_MASK
        self._rows[key] = row
        self._latest = (key, resource)

    def fill(self, added: dict[ResourceKey, bytes], generations: list[int]) -> None:
        """As many times `put`, of encoded rows in the order of their generations. Raises ValueError when one is not new."""
        if len(added) != len(generations) or not self._rows.keys().isdisjoint(added):
            raise ValueError("one resource is told of twice")
        salt = self._salt
        change = sum(_hash_bytes(row, salt) for row in added.values())
        self._digest.value = (self._digest.value + change) & DIGEST_MASK
        self._rows |= added
        self._order.extend(generations, list(added))

    def pop(self, key: ResourceKey) -> Resource:
        resource = self[key]
        row = self._rows.pop(key)
        self._latest = None
        if self._view is not None:
            self._view.keep_gone(resource.generation, key, row)
        self._order.remove(resource.generation)
        self._digest.value = (self._digest.value - _hash_bytes(row, self._salt)) & DIGEST_MASK
        return resource

    def last(self) -> int:
        """The highest number there ever was, or 0."""
        return self._order.last()

    def after(self, number: int) -> Iterator[tuple[int, ResourceKey]]:
        """Generations and keys of what was begun after `number`, oldest first. Read before anything changes."""
        return self._order.after(number)

    def view(self) -> TableView[ResourceKey, bytes]:
        """The table as it is now, to be read in parts. Costs upkeep until `forget_view`; there is one at a time."""
        assert self._view is None, "one view of a table at a time"
        self._view = TableView(self._rows, self._order)
        return self._view

    def forget_view(self) -> None:
        self._view = None
