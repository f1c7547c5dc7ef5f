"""Which resource owns what a cleanup would touch.

A canonical target reads `scheme:/segment/segment`; one that contains another at a segment's border overlaps it.
The index is cluster-wide: two namespaces may share one disk.
"""

from collections.abc import Iterator

from garbagetruck.cluster.machine.model import ResourceKey


def containers(target: str) -> Iterator[str]:
    """The targets that would contain this one, nearest first: `f:/a/b/c` gives `f:/a/b`, `f:/a`, `f:`."""
    end = target.rfind("/")
    while end > 0:
        yield target[:end]
        end = target.rfind("/", 0, end)


class TargetIndex:
    __slots__ = ("_below", "_owners")

    def __init__(self) -> None:
        self._owners: dict[str, ResourceKey] = {}
        self._below: dict[str, int] = {}

    def owner(self, target: str) -> ResourceKey | None:
        return self._owners.get(target)

    def overlap(self, target: str) -> str | None:
        """Say what contains this target or lies within it, or None. Costs the target's depth, not the index's size."""
        for container in containers(target):
            if container in self._owners:
                return f"{container!r} contains it"
        below = self._below.get(target)
        return f"{below} target(s) in use lie within it" if below else None

    def take(self, target: str, owner: ResourceKey) -> None:
        assert target not in self._owners, "a target has one owner"
        self._owners[target] = owner
        for container in containers(target):
            self._below[container] = self._below.get(container, 0) + 1

    def free(self, target: str) -> None:
        del self._owners[target]
        for container in containers(target):
            left = self._below[container] - 1
            if left:
                self._below[container] = left
            else:
                del self._below[container]
