"""Replicas that take snapshots, begin with them, and catch each other up with them, on real sockets and files."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from garbagetruck.cluster.raft.errors import SnapshotDamaged
from tests.integration.raft.replicas import CALM, IDS, Trio, trio, until_seen

SMALL = replace(CALM, snapshot_entries=20, segment_bytes=64 * 1024)
PAYLOAD = b"x" * 1_000


def snapshots_of(nodes: Trio, node_id: str) -> list[Path]:
    """The oldest first."""
    return sorted((nodes.folder(node_id) / "snapshots").glob("*.snap"))


def newest_of(nodes: Trio, node_id: str) -> int:
    """The entry that its newest snapshot goes up to."""
    return int(snapshots_of(nodes, node_id)[-1].stem)


def segments_of(nodes: Trio, node_id: str) -> list[Path]:
    return sorted((nodes.folder(node_id) / "journal").glob("*.seg"))


class Load:
    """Proposals, one after the other, each with a number."""

    def __init__(self, nodes: Trio) -> None:
        self._nodes = nodes
        self.payloads: list[bytes] = []

    async def propose(self, count: int) -> None:
        leader = await self._nodes.leader()
        for _ in range(count):
            payload = b"%d " % len(self.payloads) + PAYLOAD
            self.payloads.append(payload)
            self._nodes.propose(leader, payload)
            await self._nodes.heard(payload, by=[leader])

    async def heard_by_all(self) -> None:
        await self._nodes.heard(*self.payloads)
        for node_id in self._nodes.replicas:
            assert self._nodes.recorders[node_id].payloads == self.payloads

    async def until_compacted(self, *node_ids: str) -> None:
        """Go on until these nodes have two snapshots, and have let go of the beginning of their journals."""
        for _ in range(40):
            await self.propose(10)
            await self._nodes.heard(self.payloads[-1])
            if all(not segments_of(self._nodes, each)[0].name.startswith("0000000001") for each in node_ids):
                return
        raise AssertionError("no journal was compacted")

    async def until_each_took_one(self) -> None:
        """Go on until every node has taken a snapshot that it began after this was called, and no further."""
        await self.heard_by_all()
        before = {node_id: self._nodes.recorders[node_id].applied_index for node_id in IDS}
        await self.propose(SMALL.snapshot_entries)
        await self.heard_by_all()
        await until_seen(lambda: all(newest_of(self._nodes, each) > before[each] for each in IDS))


async def test_the_log_is_kept_for_two_snapshots_and_no_longer(tmp_path: Path) -> None:
    async with trio(tmp_path, SMALL) as nodes:
        load = Load(nodes)
        await load.until_compacted(*IDS)
        for _ in range(30):
            await load.propose(10)
            assert all(len(snapshots_of(nodes, node_id)) <= 3 for node_id in IDS), "the oldest goes with the next"
        for _ in range(2):  # the last two, at leisure: under load they may be far apart
            await load.until_each_took_one()

        def settled(node_id: str) -> bool:
            few = len(snapshots_of(nodes, node_id)) == 2
            return few and nodes.replicas[node_id].journal_bytes < 3 * SMALL.segment_bytes < 300 * len(PAYLOAD)

        await until_seen(lambda: all(map(settled, IDS)))  # a file goes, and then the log, after the next is there
        assert all(nodes.recorders[node_id].restored == [] for node_id in IDS)


async def test_a_restart_begins_with_the_newest_snapshot_and_replays_the_rest(tmp_path: Path) -> None:
    async with trio(tmp_path, SMALL) as nodes:
        load = Load(nodes)
        await load.until_compacted(*IDS)
        await load.propose(7)
        for node_id in IDS:
            await nodes.stop(node_id)
        newest = {node_id: int(snapshots_of(nodes, node_id)[-1].stem) for node_id in IDS}
        for node_id in IDS:
            await nodes.start(node_id)
        await load.heard_by_all()
        assert {node_id: nodes.recorders[node_id].restored for node_id in IDS} == {
            node_id: [index] for node_id, index in newest.items()
        }
        await load.propose(30)
        await load.heard_by_all()


async def test_a_follower_behind_the_leaders_log_gets_a_snapshot(tmp_path: Path) -> None:
    async with trio(tmp_path, SMALL) as nodes:
        load = Load(nodes)
        await load.propose(3)
        await load.heard_by_all()
        leader = await nodes.leader()
        behind = next(each for each in IDS if each != leader)
        await nodes.stop(behind)
        await load.until_compacted(*nodes.replicas)
        await nodes.start(behind)
        await load.heard_by_all()
        assert len(nodes.recorders[behind].restored) == 1
        await load.propose(5)
        await load.heard_by_all()
        await nodes.stop(behind)
        await nodes.start(behind)  # with what it was sent
        await load.heard_by_all()
        assert len(nodes.recorders[behind].restored) == 1


async def test_followers_that_both_get_snapshots_do_not_depose_the_leader(tmp_path: Path) -> None:
    settings = replace(SMALL, snapshot_entries=40)
    async with trio(tmp_path, settings) as nodes:
        load = Load(nodes)
        await load.until_compacted(*IDS)
        leader = await nodes.leader()
        others = [each for each in IDS if each != leader]
        await nodes.stop(others[0])
        await load.until_compacted(leader)
        await nodes.start(others[0])
        await load.heard_by_all()
        assert await nodes.leader() == leader


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[5_000] ^= 1
    path.write_bytes(content)


async def test_a_damaged_newest_snapshot_is_done_without_while_the_journal_covers_for_it(tmp_path: Path) -> None:
    async with trio(tmp_path, SMALL) as nodes:
        load = Load(nodes)
        await load.until_compacted(*IDS)
        await nodes.stop("n2")
        older, newest = snapshots_of(nodes, "n2")
        damage(newest)
        await nodes.start("n2")
        await load.heard_by_all()
        assert nodes.recorders["n2"].restored == [int(older.stem)]


async def test_hazard_6_with_both_snapshots_damaged_a_node_does_not_start_and_an_empty_one_catches_up(
    tmp_path: Path,
) -> None:
    async with trio(tmp_path, SMALL) as nodes:
        load = Load(nodes)
        await load.until_compacted(*IDS)
        await nodes.stop("n2")
        before = {path: path.read_bytes() for path in (tmp_path / "n2").rglob("*") if path.is_file()}
        for each in snapshots_of(nodes, "n2"):
            damage(each)
            before[each] = each.read_bytes()
        with pytest.raises(SnapshotDamaged, match=r"\.snap, at offset .* does not start.* Keep a copy of the folder"):
            await nodes.start("n2")
        assert {path: path.read_bytes() for path in (tmp_path / "n2").rglob("*") if path.is_file()} == before
        shutil.rmtree(tmp_path / "n2")
        await nodes.start("n2")
        await load.heard_by_all()
        assert len(nodes.recorders["n2"].restored) == 1
