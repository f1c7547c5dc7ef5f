"""A node's place in the cluster: it refuses to serve where the cluster knows another disk, or is another cluster."""

import asyncio
import dataclasses
from pathlib import Path

import pytest
from msgspec.structs import replace

from garbagetruck.cluster.api.gateway import Consistency, ReadView
from garbagetruck.cluster.machine.features import LEVEL_NEWEST, level_of
from garbagetruck.cluster.machine.operations import (
    AddMember,
    CreateCluster,
    Operation,
    RegisterMember,
    RemoveMember,
    SettleMember,
)
from garbagetruck.cluster.machine.outcomes import Refused
from garbagetruck.cluster.node.bootstrap import Enrolment, NotThisClusterError
from garbagetruck.cluster.node.config.loading import load_settings
from garbagetruck.cluster.node.identity import NodeIdentity
from garbagetruck.cluster.node.local.layout import UpOptions, plan, prepare
from tests.unit.machine.scribe import member
from tests.unit.node.gateway_rig import Node
from tests.unit.node.rig import NODE, acquire, turns


def enrolment(
    node: Node, folder: Path, *, cluster_id: str, disk_id: str, joined: bool = False, base_port: int = 7_100
) -> Enrolment:
    folder.mkdir(exist_ok=True)
    options = UpOptions(data_dir=folder, nodes=1, base_port=base_port)
    cluster = plan(options, new_cluster_id=cluster_id)
    prepare(cluster, options)
    settings = load_settings(cluster.nodes[0].config, {}).settings
    identity = NodeIdentity(
        cluster_id=cluster_id, node_id=NODE, disk_id=disk_id, incarnation=1, has_journal=True, joined=joined
    )
    return Enrolment(settings=settings, identity=identity, machine=node.machine, version="1")


@pytest.mark.parametrize(
    ("cluster_id", "disk_id", "told"),
    [
        ("c1", "another", "knows node n1 with disk disk, and this folder is disk another"),
        ("c2", "disk", "the log is that of cluster c1, and this folder belongs to c2"),
    ],
)
async def test_a_folder_that_the_cluster_does_not_know_is_refused(
    node: Node, tmp_path: Path, cluster_id: str, disk_id: str, told: str
) -> None:
    await node.lead()
    await node.create()
    place = enrolment(node, tmp_path, cluster_id=cluster_id, disk_id=disk_id)
    assert not place.complete
    with pytest.raises(NotThisClusterError, match=told):
        await place.register(node.gateway)


async def test_a_folder_that_the_cluster_knows_is_registered_as_it_is_now(node: Node, tmp_path: Path) -> None:
    await node.lead()
    await node.create()
    place = enrolment(node, tmp_path, cluster_id="c1", disk_id="disk")
    assert not place.complete, "its addresses are others"
    await place.register(node.gateway)
    assert place.complete


async def test_what_an_earlier_life_registered_counts_only_once_all_that_was_decided_is_applied_here(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that was started with other settings in between meets its two records one after the other."""
    await node.lead()
    await node.create()
    place = enrolment(node, tmp_path, cluster_id="c1", disk_id="disk")
    await place.register(node.gateway)
    (record,) = node.machine.members()
    still_to_come = [RegisterMember(replace(record, feature_level=1))]
    read = node.gateway.read

    async def caught_up(consistency: Consistency, *, timeout_s: float) -> ReadView:
        if still_to_come:
            await node.queue.submit((still_to_come.pop(),), timeout_s=20)
        return await read(consistency, timeout_s=timeout_s)

    monkeypatch.setattr(node.gateway, "read", caught_up)
    assert place.complete
    await place.register(node.gateway)
    assert place.complete
    assert node.machine.members() == (record,)


# -- nodes that come later, and nodes that go ---------------------------------------------------------------------


async def told(node: Node, *operations: Operation) -> None:
    outcomes = await node.queue.submit(operations, timeout_s=20)
    assert not any(isinstance(each, Refused) for each in outcomes), outcomes


async def test_a_node_that_joined_founds_no_cluster(node: Node, tmp_path: Path) -> None:
    founder = enrolment(node, tmp_path / "a", cluster_id="c1", disk_id="disk")
    joiner = enrolment(node, tmp_path / "b", cluster_id="c1", disk_id="disk", joined=True)
    assert [type(each) for each in founder.opening()] == [CreateCluster, RegisterMember]
    assert [type(each) for each in joiner.opening()] == [RegisterMember]


async def test_a_founder_writes_nothing_that_the_oldest_level_could_not_read(node: Node, tmp_path: Path) -> None:
    opening = enrolment(node, tmp_path, cluster_id="c1", disk_id="disk").opening()
    assert {level_of(each) for each in opening} == {1}


async def test_whoever_joined_is_not_misled_by_former_days_in_which_its_name_was_anothers(
    node: Node, tmp_path: Path
) -> None:
    await node.lead()
    await node.create()
    place = enrolment(node, tmp_path, cluster_id="c1", disk_id="new", joined=True)
    registering = asyncio.create_task(place.register(node.gateway))
    with pytest.raises(NotThisClusterError, match="known with another data folder"):
        await registering  # it asked the leader, which knows


async def test_once_all_can_read_it_a_node_tells_where_its_peers_reach_it(node: Node, tmp_path: Path) -> None:
    await node.lead()
    await node.create()
    place = enrolment(node, tmp_path, cluster_id="c1", disk_id="disk")
    node.applier.listen(node.leadership, place)
    await place.register(node.gateway)
    assert node.machine.members()[0].peer == ""
    assert node.machine.feature_level == LEVEL_NEWEST
    keeping = asyncio.create_task(place.keep(node.gateway))
    await told(node, acquire(1))
    await turns(30)
    assert node.machine.members()[0].peer == "127.0.0.1:7501"
    assert place.complete
    keeping.cancel()


async def test_a_node_with_the_address_of_another_does_not_serve(node: Node, tmp_path: Path) -> None:
    await node.lead()
    await node.create()
    await enrolment(node, tmp_path / "a", cluster_id="c1", disk_id="disk").register(node.gateway)
    await told(node, AddMember(node.machine.clock_ms, "", "op", member(2)))
    moved = enrolment(node, tmp_path / "b", cluster_id="c1", disk_id="disk", base_port=7_101)
    with pytest.raises(NotThisClusterError, match=r"refuses what .*member\.api: 127\.0\.0\.1:7102 is an address of n2"):
        await moved.register(node.gateway)


async def test_a_record_that_is_refused_later_is_not_told_again_and_again(node: Node, tmp_path: Path) -> None:
    await node.lead()
    await node.create()
    place = enrolment(node, tmp_path, cluster_id="c1", disk_id="disk")
    node.applier.listen(node.leadership, place)
    await place.register(node.gateway)
    keeping = asyncio.create_task(place.keep(node.gateway))
    await told(node, AddMember(node.machine.clock_ms, "", "op", replace(member(2), http="127.0.0.1:7501")))
    await turns(30)
    assert keeping.done()
    assert keeping.exception() is None
    assert node.machine.members()[0].peer == ""


async def test_a_record_that_is_gone_tells_its_node_of_its_removal(node: Node, tmp_path: Path) -> None:
    await node.lead()
    await node.create()
    place = enrolment(node, tmp_path, cluster_id="c1", disk_id="disk")
    node.applier.listen(node.leadership, place)
    await place.register(node.gateway)
    await told(node, AddMember(node.machine.clock_ms, "", "op", member(2)))
    await told(node, RegisterMember(member(2, version="1", disk_id="disk-2")), SettleMember("n2", "voter"))
    await told(node, RemoveMember(node.machine.clock_ms, "", "op", NODE))
    assert not place.removed.is_set(), "it votes as yet"
    assert not place.gone.is_set(), "and the others may count on its vote"
    await told(node, SettleMember(NODE, "gone"))
    assert place.removed.is_set()
    assert place.gone.is_set()


async def test_a_learner_that_reads_of_its_former_removal_stays_if_it_was_added_again(
    node: Node, tmp_path: Path
) -> None:
    """It was away, and comes back with its old folder: it never voted, so that folder is as good as any."""
    await node.lead()
    await node.create()
    await enrolment(node, tmp_path / "a", cluster_id="c1", disk_id="disk").register(node.gateway)
    place = enrolment(node, tmp_path / "b", cluster_id="c1", disk_id="disk")
    node.applier.listen(node.leadership, place)
    await told(node, AddMember(node.machine.clock_ms, "", "op", member(2)))
    await told(node, RegisterMember(member(2, version="1", disk_id="disk-2")), SettleMember("n2", "voter"))
    await told(node, RemoveMember(node.machine.clock_ms, "", "op", NODE))
    await told(node, SettleMember(NODE, "gone"))
    assert place.gone.is_set()
    assert not place.removed.is_set(), "this may be of former days"
    again = replace(place._own, version="", feature_level=0)
    await told(node, AddMember(node.machine.clock_ms, "", "op", again))
    await place.register(node.gateway)
    assert place.complete
    assert not place.removed.is_set()
    assert not place.gone.is_set()


async def test_raft_tells_a_node_of_its_removal(node: Node, tmp_path: Path) -> None:
    place = enrolment(node, tmp_path, cluster_id="c1", disk_id="disk")
    place.on_status(node.log.status)
    assert not place.removed.is_set()
    place.on_status(dataclasses.replace(node.log.status, removed=True))
    assert place.removed.is_set()
