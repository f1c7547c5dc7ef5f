"""Nodes come and go while three replicas lead, follow and acknowledge."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from garbagetruck.cluster.raft.errors import ChangeRefused, LogStopped, NotLeader
from garbagetruck.cluster.raft.log import AddVoter, RemoveVoter, Role
from garbagetruck.cluster.raft.settings import Member
from tests.integration.raft.replicas import IDS, PATIENCE_S, SETTINGS, Trio, trio, until_seen

SMALL = replace(SETTINGS, snapshot_entries=40, segment_bytes=64 * 1024)


async def remove(nodes: Trio, node_id: str) -> None:
    """As an operator does it: first another leads, then it is removed, then everybody is told."""
    leader = await nodes.leader()
    if leader == node_id:
        await nodes.hand_over()
    await nodes.change(RemoveVoter(node_id))
    nodes.members.remove(node_id)
    nodes.tell()


async def test_a_fourth_node_learns_and_then_votes(tmp_path: Path) -> None:
    async with trio(tmp_path) as nodes:
        leader = await nodes.leader()
        nodes.propose(leader, b"before")
        joined = await nodes.join("n4")
        await nodes.heard(b"before")
        assert joined.status.voters == set(IDS)
        assert await nodes.change(AddVoter("n4", "disk-n4")) == leader
        await nodes.voters("n1", "n2", "n3", "n4")
        nodes.propose(leader, b"after")
        await nodes.heard(b"after")


async def test_a_learner_counts_in_no_majority(tmp_path: Path) -> None:
    async with trio(tmp_path) as nodes:
        await nodes.join("n4")
        leader = await nodes.leader()
        followers = [each for each in IDS if each != leader]
        await nodes.bell.until(lambda: "n4" in nodes.replicas[leader].status.connected)
        for follower in followers:
            await nodes.stop(follower)
        await nodes.bell.until(lambda: nodes.replicas[leader].status.role is not Role.LEADER)
        assert nodes.replicas["n4"].status.role is Role.FOLLOWER


async def test_a_learner_is_handed_nothing_over(tmp_path: Path) -> None:
    async with trio(tmp_path) as nodes:
        await nodes.join("n4")
        leader = await nodes.leader()
        await nodes.bell.until(lambda: "n4" in nodes.replicas[leader].status.connected)
        assert not await nodes.replicas[leader].transfer_leadership("n4")


async def test_a_voter_that_is_removed_hears_of_it_and_the_others_go_on(tmp_path: Path) -> None:
    async with trio(tmp_path) as nodes:
        leader = await nodes.leader()
        gone = next(each for each in IDS if each != leader)
        rest = [each for each in IDS if each != gone]
        await nodes.change(RemoveVoter(gone))
        await nodes.voters(*rest)
        assert nodes.replicas[gone].status.removed
        assert not any(nodes.replicas[each].status.removed for each in rest)
        nodes.members.remove(gone)
        nodes.tell()
        await nodes.stop(gone)
        nodes.propose(leader, b"without it")
        await nodes.heard(b"without it")


async def test_a_removed_node_that_comes_back_is_refused_by_name_and_that_is_logged_once(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as lines:
        async with trio(tmp_path) as nodes:
            await remove(nodes, "n3")
            await nodes.voters("n1", "n2", by=["n1", "n2"])
            await nodes.stop("n3")
            nodes.members.append("n3")  # so it is told, and nobody else
            await nodes.start("n3")

            def refused_often() -> bool:
                return all(nodes.replicas[each].refusals.get("no longer a member", 0) >= 3 for each in ("n1", "n2"))

            leader = await nodes.leader(but="n3")
            async with asyncio.timeout(PATIENCE_S):
                while not refused_often():
                    await nodes.replicas[leader].confirm()
            told = [each for each in lines if each.get("cause") == "no longer a member"]
            assert sorted((each["node"], each["peer"]) for each in told) == [("n1", "n3"), ("n2", "n3")]
            nodes.propose(leader, b"on")
            await nodes.heard(b"on", by=["n1", "n2"])


async def test_a_cluster_shrinks_to_one_and_grows_again(tmp_path: Path) -> None:
    async with trio(tmp_path) as nodes:
        for gone in ("n3", "n2"):
            await remove(nodes, gone)
            await nodes.stop(gone)
        await nodes.voters("n1")
        nodes.propose("n1", b"alone")
        await nodes.heard(b"alone")
        await nodes.stop("n1")
        await nodes.start("n1")
        await nodes.voters("n1")
        await nodes.leader()
        await nodes.join("n4")
        await nodes.change(AddVoter("n4", "disk-n4"))
        await nodes.voters("n1", "n4")
        nodes.propose(await nodes.leader(), b"two")
        await nodes.heard(b"two")


async def test_i2_a_wiped_node_comes_back_under_its_name_as_another_and_votes(tmp_path: Path) -> None:
    async with trio(tmp_path) as nodes:
        leader = await nodes.leader()
        wiped = next(each for each in IDS if each != leader)
        nodes.propose(leader, b"before")
        await nodes.heard(b"before")
        await nodes.stop(wiped)
        await nodes.join(wiped, folder="new", disk_id="another")
        await nodes.voters(*(set(IDS) - {wiped}), by=[wiped])
        await nodes.change(RemoveVoter(wiped), but=wiped)
        await nodes.change(AddVoter(wiped, "another"))
        await nodes.heard(b"before")
        await nodes.voters(*IDS)
        assert not nodes.replicas[wiped].status.removed, "that was the other disk"
        await nodes.hand_over(wiped)


async def test_i2_a_founder_that_starts_late_does_not_elect_itself_with_one_that_lost_its_disk(tmp_path: Path) -> None:
    """It has met nobody, and would take the wiped one for the founder: two of three, and neither has what was acknowledged."""
    async with trio(tmp_path, starting=("n1", "n3")) as nodes:
        nodes.propose(await nodes.leader(), b"acknowledged")
        await nodes.heard(b"acknowledged")
        await nodes.stop("n1")
        await nodes.stop("n3")
        await nodes.join("n3", folder="new", disk_id="another")
        late = await nodes.start("n2")
        await until_seen(lambda: late.refusals.get("joined under the name of another disk", 0) >= 2)
        assert late.status.term == 0
        await nodes.start("n1")
        await nodes.heard(b"acknowledged", by=["n1", "n2"])
        assert nodes.recorders["n2"].payloads == nodes.recorders["n1"].payloads


async def test_i3_nodes_that_were_founded_with_different_others_refuse_each_other(tmp_path: Path) -> None:
    async with trio(tmp_path, starting=("n1",)) as nodes:
        other = await nodes.start("n2", founders=("n1", "n2"))
        reasons = ("founded with other nodes", "refused by peer")
        for node in (other, nodes.replicas["n1"]):
            await until_seen(lambda node=node: any(each in node.refusals for each in reasons))  # type: ignore[misc]
        assert other.status.connected == frozenset()


async def test_a_node_that_was_away_follows_a_leader_that_nobody_told_it_of(tmp_path: Path) -> None:
    """Its book is older than the leader, and a majority may need its vote: here of three that vote one has ended for good."""
    async with trio(tmp_path) as nodes:
        await nodes.leader()
        await nodes.stop("n1")
        await nodes.join("n4")
        await nodes.change(AddVoter("n4", "disk-n4"))
        await remove(nodes, "n3")
        await nodes.voters("n2", "n4", "n1", by=["n2", "n4"])
        await nodes.stop("n3")
        await nodes.hand_over("n4")
        nodes.propose(await nodes.leader(), b"while it was away")
        await nodes.heard(b"while it was away")
        await nodes.stop("n2")
        nodes.members = [*IDS]  # as its book says; the others are not told
        away = await nodes.start("n1")
        await nodes.heard(b"while it was away", by=["n1"])
        await nodes.voters("n1", "n2", "n4", by=["n1"])
        assert "n4" in away.status.connected, "as a voter, though nobody told where it is"
        nodes.propose(await nodes.leader(), b"on")
        await nodes.heard(b"on")


async def test_a_learner_that_was_never_registered_keeps_the_name_from_nobody(tmp_path: Path) -> None:
    async with trio(tmp_path) as nodes:
        first = await nodes.join("n4", folder="first", disk_id="first")
        await nodes.bell.until(lambda: first.status.connected == set(IDS))
        nodes.disks["n4"] = "second"  # another folder was: the records tell
        nodes.tell()
        await until_seen(lambda: "another disk than before" in nodes.replicas["n1"].refusals)
        await nodes.bell.until(lambda: all("n4" not in nodes.replicas[each].status.connected for each in IDS))
        await nodes.stop("n4")
        await nodes.join("n4", folder="second", disk_id="second")
        await nodes.change(AddVoter("n4", "second"))
        await nodes.voters(*IDS, "n4")


async def test_a_node_that_was_away_follows_a_leader_whose_disk_it_has_not_heard_of(tmp_path: Path) -> None:
    """Its door counts nothing that this leader says of itself until the change has come."""
    async with trio(tmp_path) as nodes:
        await nodes.join("n4")
        await nodes.change(AddVoter("n4", "disk-n4"))
        await nodes.voters(*IDS, "n4")
        await nodes.stop("n1")
        await nodes.stop("n3")
        await nodes.join("n3", folder="new", disk_id="another")
        await nodes.stop("n3")
        await nodes.start("n1")
        await remove(nodes, "n3")
        await nodes.voters("n1", "n2", "n4")
        await nodes.stop("n1")
        await nodes.join("n3", folder="new", disk_id="another")
        await nodes.change(AddVoter("n3", "another"))
        await nodes.hand_over("n3")
        nodes.propose(await nodes.leader(), b"while it was away")
        await nodes.start("n1")
        await nodes.heard(b"while it was away")
        await nodes.voters(*IDS, "n4")


async def test_voters_survive_snapshots_and_restarts_that_are_told_of_former_members(tmp_path: Path) -> None:
    async with trio(tmp_path, SMALL) as nodes:
        await nodes.join("n4")
        await nodes.change(AddVoter("n4", "disk-n4"))
        await remove(nodes, "n1")
        await nodes.stop("n1")
        batch = 0
        while not all([*(nodes.folder(each) / "snapshots").glob("*.snap")] for each in nodes.replicas):
            batch += 1
            payloads = [b"%d.%d" % (batch, number) for number in range(20)]
            nodes.propose(await nodes.leader(), *payloads)
            await nodes.heard(*payloads)
        running = [*nodes.replicas]
        for each in running:
            await nodes.stop(each)
        nodes.members.insert(0, "n1")  # as a configuration file still does
        for each in running:
            await nodes.start(each, founders=["n1", each])
        await nodes.voters("n2", "n3", "n4")
        nodes.propose(await nodes.leader(), b"on")
        await nodes.heard(b"on")


async def test_a_node_that_joins_late_gets_the_voters_with_a_snapshot(tmp_path: Path) -> None:
    async with trio(tmp_path, SMALL) as nodes:
        await remove(nodes, "n3")
        await nodes.stop("n3")
        for batch in range(8):
            payloads = [b"%d.%d" % (batch, number) for number in range(20)]
            nodes.propose(await nodes.leader(), *payloads)
            await nodes.heard(*payloads)
        nodes.members.append("n3")  # it is told of one that has gone
        await nodes.join("n4")
        await nodes.heard(b"7.19")
        assert nodes.recorders["n4"].restored
        await nodes.voters("n1", "n2")
        await nodes.change(AddVoter("n4", "disk-n4"))
        await nodes.voters("n1", "n2", "n4")
        await nodes.hand_over("n4")


async def test_a_change_is_refused_by_who_does_not_lead_or_runs_no_more(tmp_path: Path) -> None:
    async with trio(tmp_path) as nodes:
        leader = await nodes.leader()
        term = nodes.replicas[leader].status.term
        follower = next(each for each in IDS if each != leader)
        with pytest.raises(NotLeader):
            await nodes.replicas[follower].change_voters(RemoveVoter(leader), term=term)
        nodes.propose(leader, b"of its own")
        await nodes.heard(b"of its own")
        with pytest.raises(ChangeRefused, match="n1 votes already"):
            await nodes.replicas[leader].change_voters(AddVoter("n1", "disk-n1"), term=term)
        replica = nodes.replicas[follower]
        await nodes.stop(follower)
        with pytest.raises(LogStopped):
            await replica.change_voters(RemoveVoter(leader), term=term)


async def test_a_member_off_this_machine_is_left_out_without_tls(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as lines:
        async with trio(tmp_path) as nodes:
            leader = await nodes.leader()
            members = [*nodes.members_as_seen_by(leader), Member("n4", "192.0.2.1:7301")]
            nodes.replicas[leader].set_members(members)
            nodes.propose(leader, b"on")
            await nodes.heard(b"on")
            assert "n4" in {each["member"] for each in lines if each["event"] == "raft_member_left_out"}
