"""What the log takes snapshots of: a moment of the machine, and the same machine made from it."""

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor

import pytest

from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.node import machine_snapshots
from garbagetruck.cluster.node.machine_snapshots import MachineSnapshots
from garbagetruck.cluster.raft.errors import SnapshotUnfit, StateTooNew
from tests.unit.node.rig import Rig, acquire


@pytest.fixture
def executor() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


@pytest.fixture
async def snapshots(rig: Rig, executor: Executor, monkeypatch: pytest.MonkeyPatch) -> MachineSnapshots:
    monkeypatch.setattr(machine_snapshots, "PIECE_BYTES", 50)  # so that no piece is a chunk
    await rig.lead()
    await rig.queue.submit([acquire(number) for number in range(100)], timeout_s=20)
    return MachineSnapshots(rig.machine, rig.applier, executor)


async def test_i3_what_is_decoded_is_the_machine_as_it_was_when_it_was_captured(
    rig: Rig, snapshots: MachineSnapshots
) -> None:
    index, digest = rig.applier.applied_index, rig.machine.digest()
    capture = snapshots.capture()
    assert capture.index == index
    pieces = [await anext(capture.chunks)]
    await rig.queue.submit([acquire(number) for number in range(100, 150)], timeout_s=20)
    pieces += [piece async for piece in capture.chunks]
    assert max(map(len, pieces)) == 50
    restored = Machine()
    restored.restore(snapshots.decode(iter(pieces)))
    assert restored.digest() == digest != rig.machine.digest()


async def test_a_capture_may_be_given_up_and_the_next_taken(snapshots: MachineSnapshots) -> None:
    capture = snapshots.capture()
    await anext(capture.chunks)
    await capture.chunks.aclose()
    capture.close()
    snapshots.capture().close()
    assert [piece async for piece in snapshots.capture().chunks]


@pytest.mark.parametrize("kept", [0, 1, 7, 60, -1])
async def test_what_was_cut_off_is_unfit(snapshots: MachineSnapshots, kept: int) -> None:
    content = b"".join([piece async for piece in snapshots.capture().chunks])
    with pytest.raises(SnapshotUnfit):
        snapshots.decode(iter([content[:kept]]))


async def test_what_is_damaged_is_unfit(snapshots: MachineSnapshots) -> None:
    content = bytearray(b"".join([piece async for piece in snapshots.capture().chunks]))
    for offset in range(0, len(content), 37):
        spoilt = bytearray(content)
        spoilt[offset] ^= 4
        with pytest.raises(SnapshotUnfit):
            snapshots.decode(iter([bytes(spoilt)]))


async def test_the_applier_goes_on_behind_a_restored_state(rig: Rig, snapshots: MachineSnapshots) -> None:
    pieces = [piece async for piece in snapshots.capture().chunks]
    index, digest = rig.applier.applied_index, rig.machine.digest()
    other = Rig()
    waiting = other.applier.wait_applied(index)
    other.applier.on_restored(snapshots.decode(iter(pieces)), index)
    await waiting
    assert (other.applier.applied_index, other.machine.digest()) == (index, digest)
    with pytest.raises(AssertionError, match="never goes back"):
        other.applier.on_restored(snapshots.decode(iter(pieces)), index - 1)


async def test_what_needs_a_higher_level_is_no_damage(
    rig: Rig, snapshots: MachineSnapshots, executor: Executor
) -> None:
    rig.machine.skip(5, 7)
    pieces = [piece async for piece in snapshots.capture().chunks]
    lower = MachineSnapshots(Machine(level=1), rig.applier, executor)
    with pytest.raises(StateTooNew, match="snapshot of format 2, this node reads up to 1; set node"):
        lower.decode(iter(pieces))
