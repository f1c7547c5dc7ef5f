"""A small multimap, for indexes in which most keys have one value."""

from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


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

    def extend(self, key: K, values: Sequence[V]) -> bool:
        """As many times `add`, of at least one value. Return whether the key is new."""
        first, *others = values
        is_new = self.add(key, first)
        if others:
            there = self._rows[key]
            if not isinstance(there, dict):
                there = self._rows[key] = {there: None}
            there.update(dict.fromkeys(others))
        return is_new

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

    def first(self, key: K) -> V | None:
        """The oldest value, or None."""
        old = self._rows.get(key)
        return next(iter(old)) if isinstance(old, dict) else old

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
