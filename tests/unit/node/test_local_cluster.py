"""What `up` plans and writes before it starts anything."""

import io
import json
import os
import socket
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from garbagetruck.cluster.node.config.loading import load_settings
from garbagetruck.cluster.node.local.layout import (
    LocalCluster,
    UpError,
    UpOptions,
    announce,
    check_ports,
    exclusive,
    plan,
    prepare,
)
from garbagetruck.cluster.node.local.supervisor import node_environment, up


def prepared(options: UpOptions, cluster_id: str = "c-1") -> LocalCluster:
    options.data_dir.mkdir(parents=True, exist_ok=True)
    cluster = plan(options, new_cluster_id=cluster_id)
    prepare(cluster, options)
    return cluster


def test_node_i_has_the_ports_base_plus_i(tmp_path: Path) -> None:
    cluster = plan(UpOptions(data_dir=tmp_path, base_port=7100), new_cluster_id="c-1")
    assert [(node.id, node.api, node.http, node.raft, node.peer) for node in cluster.nodes] == [
        ("n1", "127.0.0.1:7101", "127.0.0.1:7201", "127.0.0.1:7301", "127.0.0.1:7501"),
        ("n2", "127.0.0.1:7102", "127.0.0.1:7202", "127.0.0.1:7302", "127.0.0.1:7502"),
        ("n3", "127.0.0.1:7103", "127.0.0.1:7203", "127.0.0.1:7303", "127.0.0.1:7503"),
    ]
    assert all(node.bootstrap for node in cluster.nodes)


def test_the_files_written_are_configurations_that_load(tmp_path: Path) -> None:
    extra = tmp_path / "more" / "files"
    extra.mkdir(parents=True)
    cluster = prepared(UpOptions(data_dir=tmp_path / "data", file_roots=(extra,)))
    for node in cluster.nodes:
        settings = load_settings(node.config, {}).settings
        assert settings.cluster.id == "c-1"
        assert settings.node.id == node.id
        assert settings.node.data_dir == node.data_dir
        assert str(settings.api_listen) == node.api
        roots = {"files": str(tmp_path / "data" / "files"), "files-2": str(extra)}
        assert settings.handlers["file"].revealed() == {"roots": roots}
    assert (tmp_path / "data" / "files").is_dir()


def test_cluster_json_is_what_scripts_rely_on(tmp_path: Path) -> None:
    cluster = prepared(UpOptions(data_dir=tmp_path, nodes=1))
    announce(cluster, {"n1": 4711})
    assert json.loads((tmp_path / "cluster.json").read_text()) == {
        "cluster_id": "c-1",
        "supervisor_pid": os.getpid(),
        "nodes": [
            {
                "id": "n1",
                "pid": 4711,
                "api": "127.0.0.1:7101",
                "http": "127.0.0.1:7201",
                "raft": "127.0.0.1:7301",
                "peer": "127.0.0.1:7501",
                "data_dir": str(tmp_path / "n1"),
                "config": str(tmp_path / "n1.toml"),
                "log": str(tmp_path / "n1.log"),
            }
        ],
    }


def test_a_cluster_that_served_is_started_again_without_bootstrap_and_under_its_id(tmp_path: Path) -> None:
    options = UpOptions(data_dir=tmp_path)
    announce(prepared(options), {"n1": 1, "n2": 2, "n3": 3})
    again = prepared(options, "c-2")
    assert again.cluster_id == "c-1"
    assert not any(node.bootstrap for node in again.nodes)
    assert not (tmp_path / "cluster.json").exists()


def test_i2_a_wiped_node_of_a_cluster_that_served_is_not_bootstrapped_again(tmp_path: Path) -> None:
    """It would vote again; `serve` refuses its empty folder instead."""
    options = UpOptions(data_dir=tmp_path)
    announce(prepared(options), {"n1": 1, "n2": 2, "n3": 3})
    prepared(options)
    assert not any(node.bootstrap for node in plan(options, new_cluster_id="c-2").nodes)


def test_a_bootstrap_that_was_interrupted_is_completed(tmp_path: Path) -> None:
    options = UpOptions(data_dir=tmp_path)
    prepared(options)
    (tmp_path / "n1").mkdir()
    (tmp_path / "n1" / "node.json").write_text("{}")
    again = plan(options, new_cluster_id="c-2")
    assert [node.bootstrap for node in again.nodes] == [False, True, True]
    assert again.cluster_id == "c-1"


def test_another_number_of_nodes_is_refused(tmp_path: Path) -> None:
    prepared(UpOptions(data_dir=tmp_path))
    with pytest.raises(UpError, match=r"3 nodes, and 5 were asked for.*--nodes 3"):
        plan(UpOptions(data_dir=tmp_path, nodes=5), new_cluster_id="c-2")


def test_fresh_removes_the_nodes_and_nothing_else(tmp_path: Path) -> None:
    options = UpOptions(data_dir=tmp_path)
    announce(prepared(options), {"n1": 1, "n2": 2, "n3": 3})
    (tmp_path / "n1").mkdir()
    (tmp_path / "n1" / "node.json").write_text("{}")
    (tmp_path / "files" / "upload").write_text("precious")
    (tmp_path / "n2").mkdir()
    (tmp_path / "n2" / "mine").write_text("not a node's")
    again = prepared(replace(options, fresh=True, nodes=1), "c-2")
    assert again.cluster_id == "c-2"
    assert all(node.bootstrap for node in again.nodes)
    assert not (tmp_path / "n1").exists()
    assert (tmp_path / "files" / "upload").read_text() == "precious"
    assert (tmp_path / "n2" / "mine").exists()
    assert not (tmp_path / "n3.toml").exists()


def test_fresh_in_a_folder_that_up_never_used_removes_nothing(tmp_path: Path) -> None:
    (tmp_path / "n1").mkdir()
    (tmp_path / "n1" / "node.json").write_text("{}")
    prepared(UpOptions(data_dir=tmp_path, fresh=True, nodes=1))
    assert (tmp_path / "n1" / "node.json").exists()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"postgres": "embedded"}, "goes with --storage postgres"),
        ({"storage": "tape"}, "directory, memory, postgres"),
        ({"nodes": 0}, "--nodes 0"),
        ({"nodes": 16}, "--nodes 16"),
        ({"base_port": 0}, "--base-port 0"),
        ({"base_port": 65400}, "--base-port 65400"),
        ({"file_roots": (Path("/nonexistent"),)}, "--file-root /nonexistent"),
    ],
)
def test_what_cannot_be_is_refused_with_the_flag_and_what_would_be_right(
    tmp_path: Path, change: dict[str, object], complaint: str
) -> None:
    options = replace(UpOptions(data_dir=tmp_path / "new"), **change)  # type: ignore[arg-type]
    told = io.StringIO()
    assert up(options, new_cluster_id="c-1", err=told) == 2
    assert complaint in told.getvalue()
    assert not (tmp_path / "new").exists(), "a refusal makes nothing"


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        cluster = plan(UpOptions(data_dir=tmp_path, nodes=1), new_cluster_id="c-1")
        node = replace(cluster.nodes[0], http=f"127.0.0.1:{port}")
        with pytest.raises(UpError, match=rf"127\.0\.0\.1:{port} \(n1's http\).*--base-port"):
            check_ports(replace(cluster, nodes=(node,)))


def test_two_ups_never_share_a_folder(tmp_path: Path) -> None:
    with exclusive(tmp_path), pytest.raises(UpError, match="another `up` runs"), exclusive(tmp_path):
        pass
    with exclusive(tmp_path):
        pass


def test_a_damaged_cluster_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cluster.toml").write_text("id = 7\n")
    with pytest.raises(UpError, match=r"cluster\.toml"):
        plan(UpOptions(data_dir=tmp_path), new_cluster_id="c-1")
    assert tomllib.loads((tmp_path / "cluster.toml").read_text()) == {"id": 7}


def test_more_handlers_stand_beside_the_file_handler(tmp_path: Path) -> None:
    more = tmp_path / "more.toml"
    more.write_text('[handlers.index]\nkind = "http"\nbase = "http://127.0.0.1:9000"\n')
    cluster = prepared(UpOptions(data_dir=tmp_path / "data", nodes=1, handlers=more))
    handlers = load_settings(cluster.nodes[0].config, {}).settings.handlers
    assert {name: handler.kind for name, handler in handlers.items()} == {"index": "http", "file": "file"}


def test_the_file_handlers_bounds_can_be_set_and_its_roots_stay(tmp_path: Path) -> None:
    more = tmp_path / "more.toml"
    more.write_text('[handlers.file]\nattempt_timeout = "90s"\nslots = 3\n')
    cluster = prepared(UpOptions(data_dir=tmp_path / "data", nodes=1, handlers=more))
    handler = load_settings(cluster.nodes[0].config, {}).settings.handlers["file"]
    assert (handler.attempt_timeout_ms, handler.slots_max) == (90_000, 3)
    assert handler.revealed() == {"roots": {"files": str(tmp_path / "data" / "files")}}


@pytest.mark.parametrize(
    "content",
    [
        '[handlers.file]\nroots = ["/"]\n',
        '[handlers.file]\nkind = "http"\n',
        "[handlers]\nfile = 7\n",
        "[node]\n",
        "handlers = 7\n",
        "[",
    ],
)
def test_a_handlers_file_that_holds_anything_else_is_refused(tmp_path: Path, content: str) -> None:
    more = tmp_path / "more.toml"
    more.write_text(content)
    with pytest.raises(UpError, match=r"--handlers .*more\.toml"):
        prepared(UpOptions(data_dir=tmp_path / "data", handlers=more))


def test_nodes_do_not_inherit_variables_that_up_decides() -> None:
    inherited = node_environment(
        {
            "GARBAGETRUCK_NODE_ID": "n7",
            "GARBAGETRUCK_HANDLERS": "{}",
            "GARBAGETRUCK_CLUSTER_MEMBERS": "[]",
            "GARBAGETRUCK_LOG_LEVEL": "debug",
            "GARBAGETRUCK_NODE_DRAIN_TIMEOUT": "1s",
            "PATH": "/bin",
        }
    )
    assert set(inherited) == {"GARBAGETRUCK_LOG_LEVEL", "GARBAGETRUCK_NODE_DRAIN_TIMEOUT", "PATH"}
