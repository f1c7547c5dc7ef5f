"""The order of creation: complete, resumable anywhere, and never far from a bounded cost."""

import random

import pytest

from garbagetruck.cluster.machine import order
from garbagetruck.cluster.machine.order import CreationOrder


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "BLOCK_KEYS_MAX", 8)


@pytest.mark.parametrize("leaving", ["oldest", "newest", "any"])
def test_it_tells_what_is_there_after_any_number(leaving: str, seed: int) -> None:
    rng = random.Random(seed)
    keys: CreationOrder[str] = CreationOrder()
    known: dict[int, str] = {}
    number = 0
    for _ in range(3_000):
        if known and rng.random() < 0.5:
            numbers = list(known)
            gone = {"oldest": numbers[0], "newest": numbers[-1], "any": rng.choice(numbers)}[leaving]
            keys.remove(gone)
            del known[gone]
        elif rng.random() < 0.1:
            added = {number + step: f"k{number + step}" for step in range(1, rng.randrange(2, 30))}
            keys.extend(list(added), list(added.values()))
            known |= added
            number = max(added)
        else:
            number += rng.randrange(1, 4)
            keys.append(number, f"k{number}")
            known[number] = f"k{number}"
        if known and rng.random() < 0.2:
            there = rng.choice(list(known))
            known[there] += "+"
            keys.replace(there, known[there])
            assert keys.at(there) == known[there]
        after = rng.randrange(number + 2)
        assert list(keys.after(after)) == [entry for entry in known.items() if entry[0] > after]
        assert keys.first() == next(iter(known.items()), None)
        assert keys.last() == number


def test_blocks_stay_in_proportion_to_what_is_there() -> None:
    keys: CreationOrder[int] = CreationOrder()
    for number in range(1, 4_001):
        keys.append(number, number)
    for number in range(1, 4_001):
        if number % 50:
            keys.remove(number)
    assert len(keys._keys) <= 80 // 2 + 1, "80 keys are left; two neighbours hold more than half of one's room of 8"


def test_numbers_rise_and_are_known() -> None:
    keys: CreationOrder[str] = CreationOrder()
    keys.append(5, "a")
    for number in (5, 4):
        with pytest.raises(AssertionError, match="rise"):
            keys.append(number, "b")
    for number in (4, 6):
        with pytest.raises(AssertionError, match="unknown"):
            keys.remove(number)
