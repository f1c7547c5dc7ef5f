"""A table as it was at one moment, read part by part while the table goes on changing.

Duty: give every row that the table had when the view was made, as it was then, in the order of creation.
Invariants: whoever changes a row tells the view first; a row is set aside at its first change only, and not at all once it
was read, or when it is newer than the view. So both the memory and the work follow what changed, not what is there.
It must not know: what rows mean.
"""

import heapq
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from garbagetruck.cluster.machine.order import CreationOrder

K = TypeVar("K")
Row = TypeVar("Row")

NO_ROW: tuple[int, Any] = (1 << 64, None)
"""Stands behind the last row: no row has so high a number."""


class TableView(Generic[K, Row]):
    """Made from a table's rows and their order, both of which stay the table's own."""

    __slots__ = ("_aside", "_gone", "_last", "_order", "_read", "_rows")

    def __init__(self, rows: Mapping[K, Row], order: CreationOrder[K]) -> None:
        self._rows = rows
        self._order = order
        self._last = order.last()
        self._read = 0
        """Every row up to this number was read."""
        self._aside: dict[int, Row] = {}
        """By number: what rows were before their first change since."""
        self._gone: list[tuple[int, K]] = []
        """A heap of those among them that the order no longer tells of."""

    def keep(self, number: int, row: Row) -> None:
        """The row is about to be replaced."""
        if self._read < number <= self._last:
            self._aside.setdefault(number, row)

    def keep_gone(self, number: int, key: K, row: Row) -> None:
        """The row is about to be removed."""
        if self._read < number <= self._last:
            self._aside.setdefault(number, row)
            heapq.heappush(self._gone, (number, key))

    def read(self, rows_max: int) -> list[tuple[K, Row]]:
        """The next rows, oldest first; none when all were read. Costs what `rows_max` rows cost, whatever changed."""
        part: list[tuple[K, Row]] = []
        gone, aside, rows = self._gone, self._aside, self._rows
        living = self._order.after(self._read)
        oldest = next(living, NO_ROW)
        while len(part) < rows_max:
            if gone and gone[0][0] < oldest[0]:
                number, key = heapq.heappop(gone)
            elif oldest[0] <= self._last:
                number, key = oldest
                oldest = next(living, NO_ROW)
            else:
                self._read = self._last
                break
            part.append((key, aside.pop(number) if number in aside else rows[key]))
            self._read = number
        return part
