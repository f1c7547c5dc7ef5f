"""What may be claimed: cleanups that are due, unheld and not waiting for a retry, by namespace and by handler.

Duty: an index over resources, from which the leader takes what comes next without looking at what does not: a backlog of a
namespace that is paused, or of a handler that cannot run, costs the others nothing.

Invariants: within one namespace and handler the order is that in which cleanups fell due; no list in it is empty. It
follows from the table of resources, and keeps of each no more than its name.
It must not know: pauses, brakes, who is busy.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from types import MappingProxyType

from garbagetruck.cluster.machine.model import ResourceKey

_NONE: Mapping[str, None] = MappingProxyType({})


class ReadyIndex:
    __slots__ = ("_counts", "_lists")

    def __init__(self) -> None:
        self._lists: dict[str, dict[str, dict[str, None]]] = {}
        """Namespace -> handler -> names, the longest due first."""
        self._counts: dict[str, int] = {}
        """Handler -> how many there are in all namespaces together."""

    def add(self, namespace: str, handler: str, name: str) -> None:
        names = self._lists.setdefault(namespace, {}).setdefault(handler, {})
        if name not in names:
            names[name] = None
            self._counts[handler] = self._counts.get(handler, 0) + 1

    def discard(self, namespace: str, handler: str, name: str) -> None:
        names = self.names(namespace, handler)
        if name not in names:
            return
        handlers = self._lists[namespace]
        del handlers[handler][name]
        self._counts[handler] -= 1
        if not handlers[handler]:
            del handlers[handler]
        if not handlers:
            del self._lists[namespace]
        if not self._counts[handler]:
            del self._counts[handler]

    def has(self, namespace: str, handler: str, name: str) -> bool:
        return name in self.names(namespace, handler)

    def names(self, namespace: str, handler: str) -> Collection[str]:
        """Of one namespace and handler, the longest due first."""
        return self._lists.get(namespace, {}).get(handler, _NONE)

    def namespaces(self) -> Iterator[str]:
        """Those in which something is ready."""
        return iter(self._lists)

    def handlers(self, namespace: str) -> Mapping[str, Collection[str]]:
        """Handler -> names, of those in a namespace for which something is ready."""
        return self._lists.get(namespace, {})

    def counts(self) -> Mapping[str, int]:
        """How many are ready for each handler, in all namespaces together; none of none."""
        return MappingProxyType(self._counts)

    def sort(self, due_ms: Callable[[ResourceKey], int]) -> None:
        """After a restore: into the order in which they fell due, as `add` keeps it."""
        for namespace, handlers in self._lists.items():
            for handler, names in handlers.items():
                oldest_first = sorted((due_ms((namespace, name)), name) for name in names)
                handlers[handler] = dict.fromkeys(name for _, name in oldest_first)
