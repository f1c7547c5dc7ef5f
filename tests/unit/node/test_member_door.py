"""What a node's settings say of a member that shall be added."""

from dataclasses import replace
from pathlib import Path

import pytest
from msgspec.structs import replace as with_

from garbagetruck.cluster.node.config.loading import load_settings
from garbagetruck.cluster.node.config.settings import NodeSettings
from garbagetruck.cluster.node.local.layout import UpOptions, plan, prepare
from garbagetruck.cluster.node.member_door import SettingsDoor
from tests.unit.machine.scribe import member


@pytest.fixture
def settings(tmp_path: Path) -> NodeSettings:
    options = UpOptions(data_dir=tmp_path, nodes=1)
    cluster = plan(options, new_cluster_id="tests")
    prepare(cluster, options)
    return load_settings(cluster.nodes[0].config, {}).settings


@pytest.mark.parametrize("part", ["raft", "peer"])
def test_without_tls_nodes_stay_on_their_machine(settings: NodeSettings, part: str) -> None:
    exposed = with_(member(4), **{part: "10.0.0.4:7304"})
    problem = SettingsDoor(settings).problem(exposed)
    assert problem is not None
    assert problem[0] == part
    assert "without TLS" in problem[1]
    trusted = replace(settings, raft=replace(settings.raft, insecure_plaintext=True))
    certified = replace(settings, raft=replace(settings.raft, tls_certificate=Path("n1.pem")))
    assert SettingsDoor(trusted).problem(exposed) is None
    assert SettingsDoor(certified).problem(exposed) is None


def test_what_clients_reach_may_be_anywhere(settings: NodeSettings) -> None:
    assert SettingsDoor(settings).problem(with_(member(4), api="10.0.0.4:7104", http="host-4:7204")) is None


@pytest.mark.parametrize("part", ["api", "http", "raft", "peer"])
def test_an_address_must_be_one_that_a_configuration_could_have(settings: NodeSettings, part: str) -> None:
    problem = SettingsDoor(settings).problem(with_(member(4), **{part: "[1:2]:3"}))
    assert problem is not None
    assert problem[0] == part
    assert "write host:port" in problem[1]
