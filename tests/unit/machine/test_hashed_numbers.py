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


def test_one_that_was_filled_is_as_one_that_was_added_to(seed: int) -> None:
    rng = random.Random(seed)
    hashes = [rng.getrandbits(64) >> rng.choice((0, 0, 40)) for _ in range(500)]
    known = {hashed: number for number, hashed in enumerate(hashes)}
    added, filled = HashedNumbers(), HashedNumbers()
    for hashed, number in known.items():
        added.add(hashed, number)
    middle = len(known) // 2
    for part in (slice(middle), slice(middle, None)):
        filled.fill(list(known)[part], list(known.values())[part])
    assert filled.settle() is None
    assert dict(filled.items()) == dict(added.items()) == known
    assert all(filled.get(hashed) == number for hashed, number in known.items())
    filled.fill([hashes[7]], [1_000])
    assert filled.settle() == (known[hashes[7]], 1_000)
