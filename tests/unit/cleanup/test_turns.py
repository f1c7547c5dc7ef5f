"""Turns are fair: nobody waits for another's backlog, whatever waits and however long attempts take."""

import heapq
from collections import Counter
from collections.abc import Iterator
from random import Random

from garbagetruck.cluster.cleanup.turns import REMEMBERED_MIN, Turns

EVER = 1 << 30


def lists(waiting: dict[str, int]) -> dict[str, Iterator[str]]:
    return {name: iter([name] * count) for name, count in waiting.items()}


def take(turns: Turns, waiting: dict[str, int], slots: int) -> list[str]:
    """The namespaces that get the next slots, each kept."""
    taken: list[str] = []
    for namespace in turns.order("h", lists(waiting), lambda: len(taken) < slots):
        turns.began("h", namespace)
        taken.append(namespace)
    return taken


def test_one_slot_at_a_time_goes_to_each_namespace_in_turn() -> None:
    turns = Turns()
    taken = []
    for _ in range(6):
        (namespace,) = take(turns, {"a": 9, "b": 9, "c": 9}, 1)
        turns.ended("h", namespace)
        taken.append(namespace)
    assert taken == ["a", "b", "c", "a", "b", "c"]


def test_a_namespace_whose_attempts_hang_gets_no_further_slot_before_the_others() -> None:
    turns = Turns()
    assert take(turns, {"stuck": 100}, 4) == ["stuck"] * 4
    turns.ended("h", "stuck")
    taken = []
    for _ in range(5):
        (namespace,) = take(turns, {"stuck": 96, "quick": 5}, 1)
        turns.ended("h", namespace)
        taken.append(namespace)
    assert taken == ["quick"] * 5


def test_slots_that_nobody_else_wants_are_not_left_empty() -> None:
    assert Counter(take(Turns(), {"a": 100, "b": 2}, 10)) == {"a": 8, "b": 2}


def test_what_is_passed_over_costs_no_turn() -> None:
    turns = Turns()
    order = turns.order("h", {"a": iter(["busy", "busy", "free"]), "b": iter(["free"])}, lambda: True)
    assert list(order) == ["busy", "busy", "free", "free"]


def test_handlers_come_in_the_order_of_their_turns() -> None:
    turns = Turns()
    turns.began("x", "a")
    turns.began("y", "a")
    assert turns.handlers(["x", "y", "z"]) == ["z", "x", "y"]


def test_of_namespaces_that_neither_wait_nor_run_nothing_is_kept() -> None:
    turns = Turns()
    for number in range(10_000):
        take(turns, {f"n{number}": 1}, 1)
        turns.ended("h", f"n{number}")
    assert len(turns._namespaces) <= REMEMBERED_MIN + 4
    assert not turns._running


def test_whatever_waits_and_however_long_it_takes_the_slots_are_shared_as_evenly_as_can_be(seed: int) -> None:
    """Simulated: slots, namespaces with backlogs of all sizes, attempts of all lengths.

    Whenever a slot was given away, no namespace that waited had two attempts less under way than the one that got it;
    and no slot stood empty while anything waited.
    """
    random = Random(seed)
    for _ in range(50):
        share_out(random, slots=random.randint(1, 16), namespaces=random.randint(1, 12))


def share_out(random: Random, *, slots: int, namespaces: int) -> None:
    backlog = {f"n{number}": random.choice((1, 3, 40, 400)) for number in range(namespaces)}
    pace = {name: random.choice((1, 10, EVER)) for name in backlog}
    turns, running, over = Turns(), Counter[str](), list[tuple[int, str]]()
    now = 0
    for _ in range(300):
        waiting = {name: count for name, count in backlog.items() if count}
        for namespace in turns.order("h", lists(waiting), lambda: running.total() < slots):
            assert running[namespace] == min(running[name] for name, count in backlog.items() if count)
            turns.began("h", namespace)
            running[namespace] += 1
            backlog[namespace] -= 1
            heapq.heappush(over, (now + random.randint(1, pace[namespace]), namespace))
        assert running.total() == slots or not any(backlog.values())
        if not over or over[0][0] > now + EVER // 2:
            break
        now, namespace = heapq.heappop(over)
        running[namespace] -= 1
        turns.ended("h", namespace)
