"""The disk of a chaos child: the real one without an order, and under one it fails in just that way, and tells of it."""

import errno
import inspect
from collections.abc import Callable
from pathlib import Path

import pytest

from garbagetruck.chaos.processes.disk import FULL, SLOW, SYNC_FAILS, UnreliableDisk
from garbagetruck.chaos.processes.orders import bites_beside
from garbagetruck.cluster.node.__main__ import main
from garbagetruck.cluster.raft.disk import REAL_DISK, DiskFile


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    return tmp_path / "n1.disk"


@pytest.fixture
def disk(orders: Path) -> UnreliableDisk:
    return UnreliableDisk(orders)


@pytest.fixture
def file(disk: UnreliableDisk, tmp_path: Path) -> DiskFile:
    """Eight bytes long."""
    made = disk.create(tmp_path / "file")
    made.write(b"12345678", 0)
    return made


def bites(orders: Path) -> list[str]:
    path = bites_beside(orders)
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def test_without_an_order_it_is_the_real_disk(disk: UnreliableDisk, file: DiskFile, orders: Path) -> None:
    file.write_durably(b"90", 8)
    file.allocate(4_096)
    file.sync_all()
    disk.sync_folder(file.path.parent)
    assert file.read(10, 0) == b"1234567890"
    assert disk.free_bytes(file.path.parent) > 0
    assert bites(orders) == []


def test_a_full_disk_refuses_what_takes_room_and_nothing_else(
    disk: UnreliableDisk, file: DiskFile, orders: Path
) -> None:
    orders.write_text(FULL)
    calls: list[Callable[[], None]] = [
        lambda: file.write(b"9", 8),
        lambda: file.write_durably(b"9", 8),
        lambda: file.allocate(9),
    ]
    for call in calls:
        with pytest.raises(OSError, match="No space left") as failed:
            call()
        assert failed.value.errno == errno.ENOSPC
    file.write_durably(b"abcd", 4)
    assert file.read(8, 0) == b"1234abcd"
    assert disk.free_bytes(file.path.parent) == 0
    assert bites(orders) == [f"{FULL}: {file.path}"] * 3


def test_a_sync_that_fails_has_told_of_it(disk: UnreliableDisk, file: DiskFile, orders: Path) -> None:
    orders.write_text(SYNC_FAILS)
    syncs = (file.sync, file.sync_all, lambda: file.write_durably(b"x", 0), lambda: disk.sync_folder(file.path.parent))
    for sync in syncs:
        with pytest.raises(OSError, match="Input/output error"):
            sync()
    assert len(bites(orders)) == len(syncs)
    assert file.read(1, 0) == b"1", "what could not be made durable was not written either"
    orders.unlink()
    file.sync()


def test_a_slow_disk_syncs_in_the_end(file: DiskFile, orders: Path) -> None:
    orders.write_text(f"{SLOW} 0.001")
    file.sync()
    assert bites(orders) == [f"{SLOW}: {file.path}"]


def test_a_node_runs_on_the_real_disk_unless_its_starter_says_otherwise() -> None:
    assert inspect.signature(main).parameters["disk"].default is REAL_DISK
