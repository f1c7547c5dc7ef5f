"""Who votes, as the oracle sees it: never may two majorities of one time have nobody in common.

Duty: hear which configurations nodes have applied, and by which of them a leader was elected, and find what contradicts.

- At one applied index all nodes have the same voters.
- Whoever leads the newest term was elected by a configuration of which every majority has somebody in common with every
  majority of the newest that anybody has applied.

Must not know: the nodes, pysyncobj, the files.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Seen:
    """The configuration that a node has applied: since which index, who votes, and with which disks."""

    index: int
    disks: Mapping[str, str]
    is_certain: bool
    """Whether the log says so. A node that joins was only told who votes."""


class Electorate:
    """`fail` hears of everything that must not be."""

    def __init__(self, fail: Callable[[str], None]) -> None:
        self._fail = fail
        self._at: dict[int, frozenset[str]] = {}
        self.newest = Seen(-1, {}, is_certain=False)
        self.changes = 0

    def has_applied(self, seen: Seen) -> None:
        """Some node counts votes by this."""
        if seen.is_certain and seen.index > self.newest.index:
            self.changes += self.newest.index >= 0 and seen.disks.keys() != self.newest.disks.keys()
            self.newest = seen

    def applied_up_to(self, name: str, index: int, voters: frozenset[str]) -> None:
        """`name`, which votes, has applied everything up to `index`."""
        former = self._at.setdefault(index, voters)
        if former != voters:
            self._fail(f"I3: by {name} {sorted(voters)} vote behind {index}, by others {sorted(former)}")

    def led(self, name: str, term: int, seen: Seen) -> None:
        """`name` leads `term`, and nobody is in a later one."""
        if may_be_disjoint(seen.disks, self.newest.disks):
            self._fail(
                f"I3: {name} leads {term} by the voters {sorted(seen.disks)}, of which a majority may have nobody in"
                f" common with one of {sorted(self.newest.disks)}"
            )


def may_be_disjoint(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether a majority of `one` and a majority of `other` can have nobody in common."""
    same = [name for name in one.keys() & other.keys() if one[name] == other[name] or "" in (one[name], other[name])]
    everybody = len(one) + len(other) - len(same)
    return (len(one) // 2 + 1) + (len(other) // 2 + 1) <= everybody
