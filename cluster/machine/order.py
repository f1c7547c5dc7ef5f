"""Keys in the order of their creation, so that a list, or a snapshot, can resume after any of them.

Invariants: numbers rise and are never used twice. Keys stand in blocks, so that no removal moves more than one block's
entries, however many there are. It must not know: what the keys name; where a table's rows stand in for them, it does not
notice.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

K = TypeVar("K")

BLOCK_KEYS_MAX = 512


class CreationOrder(Generic[K]):
    """Keys by the ever-rising number they were created under. Two neighbouring blocks hold more than half of one's room."""

    __slots__ = ("_firsts", "_keys", "_last", "_numbers")

    def __init__(self) -> None:
        self._firsts: list[int] = []
        """What each block begins with, or began with: no key of an earlier block has as high a number."""
        self._numbers: list[array[int]] = []
        self._keys: list[list[K]] = []
        self._last = 0

    def append(self, number: int, key: K) -> None:
        assert number > self._last, "creation numbers must rise"
        self._last = number
        if self._keys and len(keys := self._keys[-1]) < BLOCK_KEYS_MAX:
            keys.append(key)
            self._numbers[-1].append(number)
        else:
            self._firsts.append(number)
            self._numbers.append(array("Q", (number,)))
            self._keys.append([key])

    def extend(self, numbers: Sequence[int], keys: Sequence[K]) -> None:
        """As many times `append`: for a table that is being filled. The numbers must rise."""
        if not numbers:
            return
        assert numbers[0] > self._last, "creation numbers must rise"
        self._last = numbers[-1]
        start = 0
        if self._keys:
            start = BLOCK_KEYS_MAX - len(self._keys[-1])
            self._numbers[-1].extend(numbers[:start])
            self._keys[-1].extend(keys[:start])
        for begin in range(start, len(numbers), BLOCK_KEYS_MAX):
            self._firsts.append(numbers[begin])
            self._numbers.append(array("Q", numbers[begin : begin + BLOCK_KEYS_MAX]))
            self._keys.append(list(keys[begin : begin + BLOCK_KEYS_MAX]))

    def at(self, number: int) -> K:
        """What was created under this number, which must be there."""
        block, position = self._place(number)
        return self._keys[block][position]

    def replace(self, number: int, key: K) -> None:
        """Have `key` stand under a number that is there."""
        block, position = self._place(number)
        self._keys[block][position] = key

    def remove(self, number: int) -> None:
        block, position = self._place(number)
        del self._numbers[block][position]
        del self._keys[block][position]
        if len(self._numbers[block]) <= BLOCK_KEYS_MAX // 4:
            self._shrink(block)

    def _place(self, number: int) -> tuple[int, int]:
        """Block and position."""
        block = bisect_right(self._firsts, number) - 1
        assert block >= 0, "unknown creation number"
        numbers = self._numbers[block]
        position = bisect_left(numbers, number)
        assert position < len(numbers), "unknown creation number"
        assert numbers[position] == number, "unknown creation number"
        return block, position

    def _shrink(self, block: int) -> None:
        """Drop an empty block; give what is left of a small one to the block before it."""
        numbers, keys = self._numbers[block], self._keys[block]
        if numbers:
            if not block or len(self._numbers[block - 1]) + len(numbers) > BLOCK_KEYS_MAX // 2:
                return
            self._numbers[block - 1].extend(numbers)
            self._keys[block - 1].extend(keys)
        del self._firsts[block], self._numbers[block], self._keys[block]

    def first(self) -> tuple[int, K] | None:
        """The oldest number and its key, or None."""
        return (self._numbers[0][0], self._keys[0][0]) if self._keys else None

    def last(self) -> int:
        """The highest number there ever was, or 0."""
        return self._last

    def after(self, number: int) -> Iterator[tuple[int, K]]:
        """Keys created after `number`, oldest first. Nothing may change until the iterator is done with."""
        block = max(0, bisect_right(self._firsts, number) - 1)
        if block < len(self._keys):
            start = bisect_right(self._numbers[block], number)
            yield from zip(self._numbers[block][start:], self._keys[block][start:], strict=True)
        for later in range(block + 1, len(self._keys)):
            yield from zip(self._numbers[later], self._keys[later], strict=True)
