"""Slots are counted, bounded and shared."""

from garbagetruck.cluster.cleanup.slots import Slots


def test_handlers_share_the_slots_equally() -> None:
    slots = Slots(10, {"a": None, "b": None, "c": None})
    taken = {name: sum(slots.take(name) for _ in range(10)) for name in ("a", "b", "c")}
    assert taken == {"a": 3, "b": 3, "c": 3}
    assert slots.full() == {"a", "b", "c"}
    assert slots.free == 1


def test_a_handler_alone_has_all_slots() -> None:
    slots = Slots(10, {"a": None})
    assert sum(slots.take("a") for _ in range(11)) == 10
    assert slots.free == 0


def test_a_bound_of_its_own_counts_instead_and_never_exceeds_all() -> None:
    slots = Slots(4, {"a": 1, "b": 100})
    assert sum(slots.take("a") for _ in range(5)) == 1
    assert sum(slots.take("b") for _ in range(5)) == 3, "all that are left"
    slots.give_back("a")
    assert slots.in_use("a") == 0
    assert slots.take("b")


def test_more_handlers_than_slots_still_get_one_each_in_turn() -> None:
    slots = Slots(1, {"a": None, "b": None})
    assert slots.take("a")
    assert not slots.take("b")
    slots.give_back("a")
    assert slots.take("b")


def test_no_handlers_at_all_is_no_error() -> None:
    assert Slots(4, {}).full() == set()
