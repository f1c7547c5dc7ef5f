"""A node's place in the cluster: it refuses to serve where the cluster knows another disk, or is another cluster."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from garbagetruck.cluster.api.gateway import Consistency, ReadView
from garbagetruck.cluster.machine.operations import RegisterMember
from garbagetruck.cluster.node.bootstrap import Enrolment, NotThisClusterError
from garbagetruck.cluster.node.config.loading import load_settings
from garbagetruck.cluster.node.identity import NodeIdentity
from garbagetruck.cluster.node.local.layout import UpOptions, plan, prepare
from tests.unit.node.gateway_rig import Node
from tests.unit.node.rig import NODE


def enrolment(node: Node, folder: Path, *, cluster_id: str, disk_id: str) -> Enrolment:
    options = UpOptions(data_dir=folder, nodes=1, base_port=7_100)
    cluster = plan(options, new_cluster_id=cluster_id)
    prepare(cluster, options)
    settings = load_settings(cluster.nodes[0].config, {}).settings
    identity = NodeIdentity(cluster_id=cluster_id, node_id=NODE, disk_id=disk_id, incarnation=1, has_journal=True)
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
            await node.queue.submit((still_to_come.pop(),), timeout_s=1)
        return await read(consistency, timeout_s=timeout_s)

    monkeypatch.setattr(node.gateway, "read", caught_up)
    assert place.complete
    await place.register(node.gateway)
    assert place.complete
    assert node.machine.members() == (record,)
