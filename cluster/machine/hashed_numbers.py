"""A map from 64-bit hashes to numbers below 2**64, in sixteen bytes an entry: a dictionary takes some seventy.

Entries stand in buckets by their highest bits, in each bucket in the order of their hashes; so an addition moves no more
than one bucket's, a few hundred of a million. It must not know: what was hashed.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import pairwise

BUCKET_SHIFT = 52
"""The bits of a hash above these choose its bucket."""


class HashedNumbers:
    __slots__ = ("_buckets",)

    def __init__(self) -> None:
        self._buckets: dict[int, tuple[array[int], array[int]]] = {}
        """Hashes, rising, and the numbers that go with them."""

    def __contains__(self, hashed: int) -> bool:
        return self.get(hashed) is not None

    def get(self, hashed: int) -> int | None:
        bucket = self._buckets.get(hashed >> BUCKET_SHIFT)
        if bucket is None:
            return None
        hashes, numbers = bucket
        place = bisect_left(hashes, hashed)
        return numbers[place] if place < len(hashes) and hashes[place] == hashed else None

    def add(self, hashed: int, number: int) -> bool:
        """Add what is not there yet; False, and nothing happened, when it is."""
        bucket = self._buckets.get(hashed >> BUCKET_SHIFT)
        if bucket is None:
            bucket = self._buckets[hashed >> BUCKET_SHIFT] = (array("Q"), array("Q"))
        hashes, numbers = bucket
        place = bisect_left(hashes, hashed)
        if place < len(hashes) and hashes[place] == hashed:
            return False
        hashes.insert(place, hashed)
        numbers.insert(place, number)
        return True

    def fill(self, hashes: Sequence[int], numbers: Sequence[int]) -> None:
        """As many times `add`, of what is not there yet: for a map that is being filled. `settle` is due before any other call."""
        buckets = self._buckets
        for hashed, number in zip(hashes, numbers, strict=True):
            bucket = buckets.get(hashed >> BUCKET_SHIFT)
            if bucket is None:
                bucket = buckets[hashed >> BUCKET_SHIFT] = (array("Q"), array("Q"))
            bucket[0].append(hashed)
            bucket[1].append(number)

    def settle(self) -> tuple[int, int] | None:
        """Put in order what `fill` left. Two numbers of one hash, if there are such; then it is nothing to rely on."""
        for which, (hashes, numbers) in self._buckets.items():
            entries = sorted(zip(hashes, numbers, strict=True))
            for (one, its), (other, others) in pairwise(entries):
                if one == other:
                    return its, others
            self._buckets[which] = (
                array("Q", [hashed for hashed, _ in entries]),
                array("Q", [number for _, number in entries]),
            )
        return None

    def remove(self, hashed: int) -> None:
        """Remove what is there."""
        hashes, numbers = self._buckets[hashed >> BUCKET_SHIFT]
        place = bisect_left(hashes, hashed)
        assert place < len(hashes), "unknown hash"
        assert hashes[place] == hashed, "unknown hash"
        del hashes[place]
        del numbers[place]
        if not hashes:
            del self._buckets[hashed >> BUCKET_SHIFT]

    def items(self) -> Iterator[tuple[int, int]]:
        """All of them, in no order."""
        for hashes, numbers in self._buckets.values():
            yield from zip(hashes, numbers, strict=True)
