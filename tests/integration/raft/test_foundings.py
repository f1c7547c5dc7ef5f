"""A founder that lost its disk and is bootstrapped again, on real sockets and disks: it may not vote in the cluster it founded,
and what it begins beside it never becomes one with that.
"""

from pathlib import Path

import pytest

from garbagetruck.cluster.raft.errors import FoundedTwice
from garbagetruck.cluster.raft.handshake import FOUNDED_APART
from garbagetruck.cluster.raft.log import Role
from tests.integration.raft.replicas import IDS, Trio, trio, until_seen


async def ended_as_founded_twice(nodes: Trio, node_id: str) -> None:
    """Wait for its last word."""
    fatal = nodes.recorders[node_id].fatal
    await nodes.bell.until(lambda: bool(fatal))
    assert isinstance(fatal.pop(), FoundedTwice)
    await nodes.stop(node_id)


@pytest.mark.parametrize("lost", ["n1", "n3"], ids=["is called", "calls"])
async def test_i2_a_founder_that_is_bootstrapped_again_ends_when_it_meets_who_has_the_log(
    tmp_path: Path, lost: str
) -> None:
    rest = [each for each in IDS if each != lost]
    async with trio(tmp_path) as nodes:
        nodes.propose(await nodes.leader(), b"before")
        await nodes.heard(b"before")
        await nodes.stop(lost)
        await nodes.found_again(lost, folder="new", disk_id="another")
        await ended_as_founded_twice(nodes, lost)
        for node_id in rest:
            await nodes.stop(node_id)
        with pytest.raises(FoundedTwice, match=f"knows node {lost} of cluster c by another disk"):
            await nodes.found_again(lost, folder="new", disk_id="another")
        for node_id in rest:
            await nodes.start(node_id)
        nodes.propose(await nodes.leader(), b"after")
        await nodes.heard(b"before", b"after")


async def test_i3_a_second_history_ends_when_the_first_is_back_and_nothing_of_it_gets_there(tmp_path: Path) -> None:
    """What cannot be prevented: n3 never ran before, and n1, which has everything, is away."""
    async with trio(tmp_path, starting=("n1", "n2")) as nodes:
        nodes.propose(await nodes.leader(), b"first")
        await nodes.heard(b"first")
        await nodes.stop("n1")
        await nodes.stop("n2")
        await nodes.start("n3")
        await nodes.found_again("n2", folder="new", disk_id="another")
        nodes.propose(await nodes.leader(), b"second")
        await nodes.heard(b"second")
        first = await nodes.start("n1")
        await ended_as_founded_twice(nodes, "n2")
        third = nodes.replicas["n3"]
        await until_seen(lambda: first.refusals.get(FOUNDED_APART, 0) + third.refusals.get(FOUNDED_APART, 0) > 0)
        await nodes.bell.until(lambda: third.status.role is not Role.LEADER)
        assert nodes.recorders["n3"].payloads == [b"second"]
        assert nodes.recorders["n1"].payloads in ([], [b"first"]), "it has no majority that would tell it more"
        assert first.status.connected == third.status.connected == frozenset()
