"""A table as it was at one moment, read part by part while the table goes on changing.

Duty: give every row that the table had when the view was made, as it was then, in the order of creation.
Invariants: whoever changes a row tells the view first; a row is set aside at its first change only, and not at all once it
was read, or when it is newer than the view. So both the memory and the work follow what changed, not what is there.
It must not know: what rows mean.
"""

import heapq
from collections.abc import Callable, Iterator
from typing import Any, Generic, Protocol, TypeVar

K = TypeVar("K")
K_co = TypeVar("K_co", covariant=True)
Row = TypeVar("Row")

NO_ROW: tuple[int, Any] = (1 << 64, None)
"""Stands behind the last row: no row has so high a number."""


class Numbered(Protocol[K_co]):
    """What stands under ever-rising numbers, as `order.CreationOrder`."""

    def last(self) -> int:
        """The highest number there ever was, or 0."""

    def after(self, number: int, /) -> Iterator[tuple[int, K_co]]:
        """What stands under higher numbers, with them, the lowest first."""


class TableView(Generic[K, Row]):
    """Made from a table's order, and `row_of`, which tells the present row of what stands there. Both stay the table's own."""

    __slots__ = ("_aside", "_gone", "_last", "_order", "_read", "_row_of")

    def __init__(self, order: Numbered[K], row_of: Callable[[K], Row]) -> None:
        self._order = order
        self._row_of = row_of
        self._last = order.last()
        self._read = 0
        """Every row up to this number was read."""
        self._aside: dict[int, Row] = {}
        """By number: what rows were before their first change since."""
        self._gone: list[int] = []
        """A heap of those among them that the order no longer tells of."""

    def keep(self, number: int, row: Row) -> None:
        """The row is about to be replaced."""
        if self._read < number <= self._last:
            self._aside.setdefault(number, row)

    def keep_gone(self, number: int, row: Row) -> None:
        """The row is about to be removed."""
        if self._read < number <= self._last:
            self._aside.setdefault(number, row)
            heapq.heappush(self._gone, number)

    def read(self, rows_max: int) -> list[Row]:
        """The next rows, oldest first; none when all were read. Costs what `rows_max` rows cost, whatever changed."""
        part: list[Row] = []
        gone, aside, row_of = self._gone, self._aside, self._row_of
        living = self._order.after(self._read)
        number, key = next(living, NO_ROW)
        while len(part) < rows_max:
            if gone and gone[0] < number:
                self._read = heapq.heappop(gone)
                part.append(aside.pop(self._read))
            elif number <= self._last:
                self._read = number
                part.append(aside.pop(number) if number in aside else row_of(key))
                number, key = next(living, NO_ROW)
            else:
                self._read = self._last
                break
        return part
