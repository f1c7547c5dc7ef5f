"""Which resource owns what a cleanup would touch. An owner is known by its generation.

A canonical target reads `scheme:/segment/segment`; one that contains another at a segment's border overlaps it.
The index is cluster-wide: two namespaces may share one disk.

Targets and their containers are known by hash: a deep target has up to 128 containers, and their names would be many
times its own size. Two of one hash could at worst refuse a target needlessly, on all nodes alike.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import xxhash

from garbagetruck.cluster.machine.hashed_numbers import HashedNumbers


def containers(target: str) -> Iterator[str]:
    """The targets that would contain this one, nearest first: `f:/a/b/c` gives `f:/a/b`, `f:/a`, `f:`."""
    end = target.rfind("/")
    while end > 0:
        yield target[:end]
        end = target.rfind("/", 0, end)


class Overlap(NamedTuple):
    """What a wanted target would overlap: the one owned target that contains it, or a number that it contains."""

    container: str
    """Empty when nothing contains it."""
    owner: int | None
    """Whose the container is: its generation."""
    within: int
    """How many owned targets lie within the wanted one. Their owners are not kept by container: see above."""


class TargetIndex:
    __slots__ = ("_around", "_below", "_is_clear", "_latest", "_owners")

    def __init__(self) -> None:
        self._owners = HashedNumbers()
        """Hash of an owned target -> the generation of whose it is."""
        self._below: dict[int, int] = {}
        """Hash of a container -> how many owned targets lie within it."""
        self._latest: tuple[str, list[int]] = ("", [_hash("")])
        """The hashes that were asked for last: one acquire looks for a target's owner, for overlaps, and takes it."""
        self._around: tuple[str, list[int]] = ("", [])
        """A folder, and the hashes of it and what contains it: what is leased together often lies together."""
        self._is_clear = False
        """Whether it is known that nobody owns any of these. Taking one of them looks at another folder, and so forgets it."""

    def owner(self, target: str) -> int | None:
        """The generation of the resource that owns it, or None."""
        return self._owners.get(self._hashes(target)[0])

    def overlap(self, target: str) -> Overlap | None:
        """What contains this target or lies within it, or None. Costs the target's depth, not the index's size."""
        hashes = self._hashes(target)
        if not self._is_clear:
            for container, hashed in zip(containers(target), self._around[1], strict=True):
                owner = self._owners.get(hashed)
                if owner is not None:
                    return Overlap(container, owner, 0)
            self._is_clear = True
        within = self._below.get(hashes[0], 0)
        return Overlap("", None, within) if within else None

    def take(self, target: str, owner: int) -> None:
        owned, *around = self._hashes(target)
        is_new = self._owners.add(owned, owner)
        assert is_new, "a target has one owner"
        for container in around:
            self._below[container] = self._below.get(container, 0) + 1

    def free(self, target: str) -> None:
        owned, *around = self._hashes(target)
        self._owners.remove(owned)
        for container in around:
            left = self._below[container] - 1
            if left:
                self._below[container] = left
            else:
                del self._below[container]

    def _hashes(self, target: str) -> list[int]:
        """The target's own, then those of its containers, nearest first."""
        if self._latest[0] != target:
            folder = target.rpartition("/")[0]
            if self._around[0] != folder:
                self._around, self._is_clear = (folder, [*map(_hash, containers(target))]), False
            self._latest = (target, [_hash(target), *self._around[1]])
        return self._latest[1]

    def fill(self, owned: Sequence[tuple[str, int]]) -> None:
        """As many times `take`: what lies in one folder has its containers counted once. `settle` is due then."""
        self._is_clear = False
        self._owners.fill([_hash(target) for target, _ in owned], [owner for _, owner in owned])
        for folder, count in Counter([target.rpartition("/")[0] for target, _ in owned]).items():
            for container in containers(folder + "/"):
                number = _hash(container)
                self._below[number] = self._below.get(number, 0) + count

    def settle(self) -> None:
        """All that `fill` was told is there. Raises ValueError when two own one target."""
        twice = self._owners.settle()
        if twice is not None:
            raise ValueError(f"the resources of generations {twice[0]} and {twice[1]} own one target")


def _hash(target: str) -> int:
    return xxhash.xxh3_64_intdigest(target.encode())
