"""Hashes that lead to numbers: a dictionary's answers, whatever came and went."""

import random

import pytest

from garbagetruck.cluster.machine.hashed_numbers import HashedNumbers


def test_it_answers_as_a_dictionary_does(seed: int) -> None:
    rng = random.Random(seed)
    numbers, known = HashedNumbers(), dict[int, int]()
    hashes = [rng.getrandbits(64) for _ in range(40)]
    hashes += [hashes[0] ^ 1, hashes[0] + 2, 0, (1 << 64) - 1]  # in one bucket, and at the ends
    for number in range(4_000):
        hashed = rng.choice(hashes)
        if rng.random() < 0.6:
            assert numbers.add(hashed, number) == (hashed not in known)
            known.setdefault(hashed, number)
        elif hashed in known:
            numbers.remove(hashed)
            del known[hashed]
        assert dict(numbers.items()) == known
        assert numbers.get(hashed) == known.get(hashed)
        assert (hashed in numbers) == (hashed in known)


def test_what_is_not_there_cannot_be_removed() -> None:
    numbers = HashedNumbers()
    numbers.add(7, 1)
    for hashed in (6, 8):
        with pytest.raises(AssertionError, match="unknown"):
            numbers.remove(hashed)
