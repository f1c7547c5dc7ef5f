"""The table of resources, kept as the bytes that the digest and a snapshot are made of.

A resource is written when it is leased, orphaned and cleaned, and seldom read between; as an object with its strings,
tuples and numbers it would take three times the room. It is otherwise a table like the others, numbered by generation;
but the rows themselves stand in its order, and a name leads to its generation. So every index of resources can do with
that number, and one name and one number are shared with the lease that began the generation. What repeats the name
within a row, as a cleanup's parameters and target often do, is left out of it (`_packed`).
It must not know: what a resource's state means.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec
import xxhash

from garbagetruck.cluster.machine.model import Lease, Resource, ResourceKey
from garbagetruck.cluster.machine.order import CreationOrder
from garbagetruck.cluster.machine.table_view import TableView
from garbagetruck.cluster.machine.tables import DIGEST_MASK, DigestSum

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Resource).decode
_hash_bytes = xxhash.xxh3_64_intdigest

NAME_LENGTH_BYTES = 2
MARK = b"\xc1"
"""Stands for the name in a packed row. No text has it, for it is no UTF-8; a number may."""


class ResourceTable:
    """Resources by (namespace, name). What is read is a record like any other: immutable, and the caller's to keep."""

    __slots__ = ("_count", "_digest", "_generations", "_latest", "_rows", "_salt", "_view")

    def __init__(self, digest: DigestSum, salt: int) -> None:
        self._digest = digest
        self._salt = salt
        self._generations: dict[str, dict[str, int]] = {}
        """Namespace -> name -> generation."""
        self._rows: CreationOrder[bytes] = CreationOrder()
        self._count = 0
        self._view: TableView[bytes, msgspec.Raw] | None = None
        self._latest: tuple[ResourceKey, Resource] | None = None
        """What was read or written last: one operation looks at the same resource several times."""

    def __len__(self) -> int:
        return self._count

    def __contains__(self, key: ResourceKey) -> bool:
        return self._generation(key) is not None

    def __iter__(self) -> Iterator[ResourceKey]:
        """In the order of creation, as all that follows."""
        return (key for key, _ in self.items())

    def get(self, key: ResourceKey) -> Resource | None:
        latest = self._latest
        if latest is not None and latest[0] == key:
            return latest[1]
        generation = self._generation(key)
        if generation is None:
            return None
        resource = _decode(_whole(self._rows.at(generation)))
        self._latest = (key, resource)
        return resource

    def __getitem__(self, key: ResourceKey) -> Resource:
        resource = self.get(key)
        if resource is None:
            raise KeyError(key)
        return resource

    def of_generation(self, generation: int) -> Resource:
        """The resource in that life, which must be its present one."""
        return _decode(_whole(self._rows.at(generation)))

    def values(self) -> Iterator[Resource]:
        return (resource for _, resource in self.after(0))

    def items(self) -> Iterator[tuple[ResourceKey, Resource]]:
        return (((each.namespace, each.name), each) for _, each in self.after(0))

    def put(self, key: ResourceKey, resource: Resource) -> None:
        row, generation = _encode(resource), self._generation(key)
        change = _hash_bytes(row, self._salt)
        if generation is None:
            namespace, name = key
            self._generations.setdefault(namespace, {})[name] = resource.generation
            self._rows.append(resource.generation, _packed(name, row))
            self._count += 1
        else:
            old = _whole(self._rows.at(generation))
            change -= _hash_bytes(old, self._salt)
            if self._view is not None:
                self._view.keep(generation, msgspec.Raw(old))
            self._rows.replace(generation, _packed(resource.name, row))
        self._digest.value = (self._digest.value + change) & DIGEST_MASK
        self._latest = (key, resource)

    def fill(self, resources: Sequence[Resource], rows: Sequence[bytes], began: Mapping[int, Lease]) -> None:
        """As many times `put`, in the order of their generations, of resources and what they were decoded from.

        `began` has the leases that began generations, as far as they are there: name and number are theirs, kept once.
        Raises ValueError when one is not new.
        """
        table, salt, generations = self._generations, self._salt, list[int]()
        for each in resources:
            name, generation = each.name, each.generation
            lease = began.get(generation)
            if lease is not None and lease.resource == name:
                name, generation = lease.resource, lease.token
            named = table.get(each.namespace)
            if named is None:
                named = table[each.namespace] = {}
            if name in named:
                raise ValueError(f"resource {name!r} is told of twice")
            named[name] = generation
            generations.append(generation)
        change = sum([_hash_bytes(row, salt) for row in rows])
        self._digest.value = (self._digest.value + change) & DIGEST_MASK
        self._rows.extend(generations, [_packed(each.name, row) for each, row in zip(resources, rows, strict=True)])
        self._count += len(rows)

    def pop(self, key: ResourceKey) -> Resource:
        resource = self[key]
        generation = resource.generation
        namespace, name = key
        named = self._generations[namespace]
        del named[name]
        if not named:
            del self._generations[namespace]
        row = _whole(self._rows.at(generation))
        self._latest = None
        if self._view is not None:
            self._view.keep_gone(generation, msgspec.Raw(row))
        self._rows.remove(generation)
        self._count -= 1
        self._digest.value = (self._digest.value - _hash_bytes(row, self._salt)) & DIGEST_MASK
        return resource

    def last(self) -> int:
        """The highest generation there ever was, or 0."""
        return self._rows.last()

    def after(self, generation: int) -> Iterator[tuple[int, Resource]]:
        """What was begun after `generation`, oldest first, with its own. Read before anything changes."""
        return ((number, _decode(_whole(row))) for number, row in self._rows.after(generation))

    def view(self) -> TableView[bytes, msgspec.Raw]:
        """The table as it is now, encoded, to be read in parts. Costs upkeep until `forget_view`; there is one at a time."""
        assert self._view is None, "one view of a table at a time"
        self._view = TableView(self._rows, lambda packed: msgspec.Raw(_whole(packed)))
        return self._view

    def forget_view(self) -> None:
        self._view = None

    def _generation(self, key: ResourceKey) -> int | None:
        named = self._generations.get(key[0])
        return None if named is None else named.get(key[1])


def _packed(name: str, row: bytes) -> bytes:
    """The row with the name once, in front, and `MARK` for it wherever else it stands; or the row as it is behind no name.

    It is that where the mark is in the row already, so that there were no way back, and where nothing is gained.
    """
    text = name.encode()
    packed = len(text).to_bytes(NAME_LENGTH_BYTES) + text + row.replace(text, MARK)
    return packed if len(packed) < len(row) and MARK not in row else bytes(NAME_LENGTH_BYTES) + row


def _whole(packed: bytes) -> bytes:
    """The row that was packed."""
    rest = NAME_LENGTH_BYTES + int.from_bytes(packed[:NAME_LENGTH_BYTES])
    if rest == NAME_LENGTH_BYTES:
        return packed[rest:]
    return packed[rest:].replace(MARK, packed[NAME_LENGTH_BYTES:rest])
