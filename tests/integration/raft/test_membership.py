"""Nodes come and go while three replicas lead, follow and acknowledge."""

from pathlib import Path

from garbagetruck.cluster.raft.log import AddVoter, RemoveVoter
from tests.integration.raft.replicas import IDS, trio


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
