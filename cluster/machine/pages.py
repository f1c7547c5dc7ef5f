"""Parts of what is there: a page of a list, bounded in what it holds and in what it looks at; several lists in turn."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from garbagetruck.cluster.machine.questions import Page

SCANNED_ROWS_MAX = 5_000
"""A list that matches little looks no further in one call, so that it does not hold the loop for long."""

K = TypeVar("K")
T = TypeVar("T")


def page(candidates: Iterable[tuple[int, K]], view: Callable[[K], T | None], after: int, limit: int) -> Page[T]:
    """The next `limit` candidates that `view` lets pass, of at most `SCANNED_ROWS_MAX` looked at."""
    items: list[T] = []
    last = after
    for scanned, (number, key) in enumerate(candidates):
        if scanned == SCANNED_ROWS_MAX:
            return Page(tuple(items), last)
        item = view(key)
        if item is not None:
            if len(items) == limit:
                return Page(tuple(items), last)
            items.append(item)
        last = number
    return Page(tuple(items), 0)


def in_turn(lists: Iterable[Iterator[K]]) -> Iterator[K]:
    """One item of each list, then the next of each, until all are at their ends."""
    waiting = list(lists)
    while waiting:
        still = []
        for items in waiting:
            for item in items:
                yield item
                still.append(items)
                break
        waiting = still
