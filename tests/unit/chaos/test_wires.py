"""Partitions by node: which ways each shape closes, and whom that leaves without a majority."""

from garbagetruck.chaos.faults.network import Partition, bridged, deaf, isolated, mute, split
from garbagetruck.chaos.processes.proxy import Direction
from garbagetruck.chaos.processes.wires import Kind, Wires, all_but, around, between

THREE = ("n1", "n2", "n3")
FIVE = ("n1", "n2", "n3", "n4", "n5")


def cut_off(partition: Partition, nodes: tuple[str, ...]) -> tuple[str, ...]:
    partition._nodes, partition._ways = nodes, partition._shape(nodes)
    return partition.cut_off


def test_a_way_is_closed_whoever_dialled_and_whatever_for() -> None:
    wires = Wires({(node, kind): "127.0.0.1:1" for node in THREE for kind in Kind})
    wires.block([("n1", "n2")])
    for kind in Kind:
        assert wires._wires["n1", "n2", kind].weather[Direction.OUT].blocked
        assert not wires._wires["n1", "n2", kind].weather[Direction.BACK].blocked
        assert wires._wires["n2", "n1", kind].weather[Direction.BACK].blocked
        assert not wires._wires["n2", "n1", kind].weather[Direction.OUT].blocked
        assert not wires._wires["n1", "n3", kind].blocked
    wires.unblock()
    assert not any(wire.blocked for wire in wires._wires.values())


def test_the_ways_of_each_shape() -> None:
    assert set(around("n1", THREE)) == {("n1", "n2"), ("n2", "n1"), ("n1", "n3"), ("n3", "n1")}
    assert set(around("n1", THREE, outbound=False)) == {("n2", "n1"), ("n3", "n1")}
    assert set(between(["n1"], ["n2"])) == {("n1", "n2"), ("n2", "n1")}
    assert set(all_but("n2", THREE)) == {("n1", "n3"), ("n3", "n1")}
    assert ("n3", "n1") not in all_but("n3", FIVE)
    assert ("n1", "n4") in all_but("n3", FIVE)


def test_who_reaches_no_majority() -> None:
    assert cut_off(isolated("n2"), THREE) == ("n2",)
    assert cut_off(deaf("n2"), THREE) == ("n2",)
    assert cut_off(mute("n2"), THREE) == ("n2",)
    assert cut_off(bridged("n2"), THREE) == ()
    assert cut_off(bridged("n3"), FIVE) == ()
    assert cut_off(split(["n1", "n5"]), FIVE) == ("n1", "n5")
