"""Slots are counted, bounded and shared."""

from garbagetruck.cluster.cleanup.slots import Slots


def test_handlers_share_the_slots_equally() -> None:
    slots = Slots(10, {"a": None, "b": None, "c": None})
    taken = {name: sum(slots.take(name) for _ in range(10)) for name in ("a", "b", "c")}
    assert taken == {"a": 3, "b": 3, "c": 3}
    assert not any(slots.has_room(name) for name in ("a", "b", "c"))
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
    assert not slots.take("b"), "it is kept for a"
    assert slots.take("a")


def test_more_handlers_than_slots_still_get_one_each_in_turn() -> None:
    slots = Slots(1, {"a": None, "b": None})
    assert slots.take("a")
    assert not slots.take("b")
    slots.give_back("a")
    assert slots.take("b")


def test_no_handlers_at_all_is_no_error() -> None:
    assert Slots(4, {}).free == 4


def test_bounds_that_add_up_to_more_leave_a_slot_to_each_handler_that_has_none() -> None:
    slots = Slots(16, {"slow": 16, "quick": 16, "rare": None})
    assert sum(slots.take("slow") for _ in range(20)) == 14
    assert slots.take("rare")
    assert slots.take("quick")
    assert not slots.has_room("quick")
    slots.give_back("slow")
    assert slots.take("slow"), "nobody else is without one"


def test_no_more_than_a_quarter_of_the_slots_is_kept_for_handlers_that_have_none() -> None:
    slots = Slots(8, {"busy": 8} | {f"idle{number}": None for number in range(20)})
    assert sum(slots.take("busy") for _ in range(20)) == 6
