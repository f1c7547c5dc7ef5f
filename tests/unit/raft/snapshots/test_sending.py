"""What a leader says about its newest snapshot, and when it says it again."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from zlib import crc32

import pytest

from garbagetruck.chaos.simulator.disk import SimulatedDisk
from garbagetruck.cluster.raft import wire
from garbagetruck.cluster.raft.snapshots.format import SnapshotHeader
from garbagetruck.cluster.raft.snapshots.sending import RESEND_NS, Sender
from garbagetruck.cluster.raft.snapshots.store import SnapshotStore
from tests.unit.raft.links import VirtualTime

ResultT = TypeVar("ResultT")
HEARTBEAT_NS = 100_000_000
TERM = 3


class Bench:
    def __init__(self) -> None:
        disk = SimulatedDisk(random.Random(0))
        disk.make_folder(Path("/node"))
        self.clock = VirtualTime()
        self.store = SnapshotStore(disk, Path("/node/snapshots"), cluster_id="c")
        self.store.open()
        self.take(10)
        self.said: list[tuple[str, wire.Message]] = []
        self.log_begins_at = 1
        self.sender = Sender(
            store=self.store,
            background=self._at_once,
            say=lambda peer_id, message: self.said.append((peer_id, message)),
            covers=lambda index, _term: index >= self.log_begins_at,
            offer_interval_ns=HEARTBEAT_NS,
            monotonic_ns=self.clock.monotonic_ns,
        )
        self.sender.begin("n2")

    @staticmethod
    def _at_once(job: Callable[[], ResultT], done: Callable[[ResultT], None], /) -> None:
        done(job())

    def take(self, index: int) -> None:
        writer = self.store.begin(SnapshotHeader("c", 1, f"of-{index}", index, 1, 1))
        writer.write(random.Random(index).randbytes(2_000_000))
        writer.finish()

    def turn(self, after_ms: float = 100) -> list[wire.Message]:
        self.clock.advance(after_ms)
        self.sender.turn(TERM)
        return self.heard()

    def heard(self) -> list[wire.Message]:
        said, self.said = self.said, []
        assert all(peer_id == "n2" for peer_id, _ in said)
        return [message for _, message in said]

    def want(self, offset: int, index: int = 10) -> list[wire.Message]:
        self.sender.wanted("n2", wire.SnapshotWanted(TERM, f"of-{index}", offset), TERM)
        return self.heard()


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_it_is_offered_once_in_every_heartbeat(bench: Bench) -> None:
    (offer,) = bench.turn()
    assert isinstance(offer, wire.SnapshotOffer)
    assert (offer.term, offer.snapshot_id, offer.index) == (TERM, "of-10", 10)
    assert bench.turn(50) == []
    assert bench.turn(50) == [offer]


def test_the_parts_that_are_asked_for_make_the_file(bench: Bench) -> None:
    (offer,) = bench.turn()
    assert isinstance(offer, wire.SnapshotOffer)
    content = b""
    while len(content) < offer.size_bytes:
        (part,) = bench.want(len(content))
        assert isinstance(part, wire.SnapshotChunk)
        assert (part.offset, part.checksum) == (len(content), crc32(part.content))
        content += part.content
    assert bench.want(len(content)) == []
    _, file = bench.store.open_newest()
    assert content == file.read(file.size(), 0)


def test_a_part_that_may_be_on_its_way_is_not_sent_again_at_once(bench: Bench) -> None:
    assert len(bench.want(0)) == 1
    assert bench.want(0) == []
    bench.clock.advance(RESEND_NS / 1_000_000)
    assert len(bench.want(0)) == 1


def test_another_snapshots_parts_are_not_sent(bench: Bench) -> None:
    assert bench.want(0, index=9) == []


def test_hazard_18_a_snapshot_under_way_stays_the_same_while_the_log_goes_on_from_it(bench: Bench) -> None:
    assert len(bench.want(0)) == 1
    bench.take(20)
    bench.take(30)  # the file of the first has no name any more
    (part,) = bench.want(600_000)
    assert isinstance(part, wire.SnapshotChunk)
    assert part.snapshot_id == "of-10"


def test_the_newest_takes_its_place_when_the_log_does_not_go_on_from_it_any_more(bench: Bench) -> None:
    bench.take(20)
    bench.log_begins_at = 15
    bench.turn()
    (offer,) = bench.turn()
    assert isinstance(offer, wire.SnapshotOffer)
    assert offer.index == 20


def test_hazard_7_after_one_was_found_damaged_the_next_is_offered(bench: Bench) -> None:
    assert bench.sender.unfit("n2", "of-10") is True
    (again,) = bench.turn()
    assert isinstance(again, wire.SnapshotOffer), "the leader must be heard meanwhile"
    bench.take(20)
    assert bench.sender.unfit("n2", "of-10") is False
    bench.turn()
    (offer,) = bench.turn()
    assert isinstance(offer, wire.SnapshotOffer)
    assert offer.snapshot_id == "of-20"


def test_nothing_is_said_to_who_has_it(bench: Bench) -> None:
    assert bench.sender.index_for("n2") == 10
    bench.sender.stop("n2")
    assert (bench.turn(), bench.want(0), bench.sender.peers) == ([], [], frozenset())
