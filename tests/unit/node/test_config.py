"""Settings: where they come from, which source wins, and what is said when they are wrong."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from garbagetruck.cluster.node.config.loading import LoadedSettings, leaves, load_settings
from garbagetruck.cluster.node.config.problems import SettingsError
from garbagetruck.cluster.node.config.values import Secret

MINIMAL = """
[cluster]
id = "tests"
[[cluster.members]]
id = "n1"
api = "127.0.0.1:7101"
http = "127.0.0.1:7201"
raft = "127.0.0.1:7301"
peer = "127.0.0.1:7501"
[node]
id = "n1"
data_dir = "data"
"""


def load(
    folder: Path, text: str, environment: Mapping[str, str] | None = None, flags: Mapping[str, str] | None = None
) -> LoadedSettings:
    file = folder / "node.toml"
    file.write_text(text)
    return load_settings(file, environment or {}, flags)


def problems(
    folder: Path, text: str, environment: Mapping[str, str] | None = None, flags: Mapping[str, str] | None = None
) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        load(folder, text, environment, flags)
    return {each.key: f"{each.problem}; {each.remedy}" for each in caught.value.problems}


def test_a_minimal_file_gets_every_default(tmp_path: Path) -> None:
    settings = load(tmp_path, MINIMAL).settings
    assert settings.node.id == "n1"
    assert settings.raft.heartbeat_ms == 100
    assert settings.storage.kind == "directory"
    assert settings.api_listen == settings.member.api
    assert str(settings.raft_listen) == "127.0.0.1:7301"
    assert str(settings.peer_listen) == "127.0.0.1:7501"
    assert settings.peers == ()


def test_a_flag_beats_a_variable_beats_the_file_beats_the_default(tmp_path: Path) -> None:
    file = MINIMAL + '[raft]\nheartbeat = "40ms"\nelection_timeout_min = "400ms"\nleader_fallback = "450ms"\n'
    environment = {"GARBAGETRUCK_RAFT_HEARTBEAT": "50ms", "GARBAGETRUCK_RAFT_ELECTION_TIMEOUT_MIN": "410ms"}
    loaded = load(tmp_path, file, environment, {"raft.heartbeat": "60ms"})
    raft = loaded.settings.raft
    assert raft.heartbeat_ms == 60
    assert raft.election_timeout_ms_min == 410
    assert raft.leader_fallback_ms == 450
    assert raft.election_timeout_ms_max == 1_000
    origins = {key: str(origin) for key, origin in loaded.origins.items()}
    assert origins["raft.heartbeat"] == "flag --raft-heartbeat"
    assert origins["raft.election_timeout_min"] == "environment GARBAGETRUCK_RAFT_ELECTION_TIMEOUT_MIN"
    assert origins["raft.leader_fallback"] == f"file {tmp_path / 'node.toml'}"
    assert origins["raft.election_timeout_max"] == "default"


def test_a_node_can_be_configured_by_the_environment_alone() -> None:
    members = [{"id": "n1", "api": "127.0.0.1:1", "http": "127.0.0.1:2", "raft": "127.0.0.1:3", "peer": "127.0.0.1:4"}]
    environment = {
        "GARBAGETRUCK_CLUSTER_ID": "tests",
        "GARBAGETRUCK_CLUSTER_MEMBERS": json.dumps(members),
        "GARBAGETRUCK_NODE_ID": "n1",
        "GARBAGETRUCK_NODE_DATA_DIR": "/var/lib/garbagetruck",
        "GARBAGETRUCK_HANDLERS": '{"file": {"roots": ["/srv"]}}',
        "GARBAGETRUCK_QUEUE_RENEWALS_RESERVED": "0.5",
        "GARBAGETRUCK_QUEUE_OPERATIONS_MAX": "5000",
    }
    settings = load_settings(None, environment).settings
    assert settings.member.id == "n1"
    assert settings.handlers["file"].kind == "file"
    assert settings.handlers["file"].revealed() == {"roots": ["/srv"]}
    assert (settings.queue.renewals_reserved, settings.queue.operations_max) == (0.5, 5000)


def test_all_problems_are_told_at_once_each_with_its_key_and_a_remedy(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        """
        [node]
        id = "n 1"
        api = "nowhere"
        [raft]
        heartbeat = 100
        heartbeet = "100ms"
        election_timeout_min = "1h"
        [log]
        level = "loud"
        """,
        {"GARBAGETRUCK_QUEUE_BATCH_OPERATIONS_MAX": "many"},
    )
    assert set(found) == {
        "cluster.id",
        "cluster.members",
        "node.id",
        "node.data_dir",
        "node.api",
        "raft.heartbeat",
        "raft.heartbeet",
        "raft.election_timeout_min",
        "log.level",
        "queue.batch_operations_max",
    }
    assert "no unit" in found["raft.heartbeat"]
    assert "1500ms" in found["raft.heartbeat"]
    assert "did you mean raft.heartbeat?" in found["raft.heartbeet"]
    assert "debug, info, warning, error" in found["log.level"]
    assert "GARBAGETRUCK_QUEUE_BATCH_OPERATIONS_MAX" in found["queue.batch_operations_max"]
    assert "GARBAGETRUCK_CLUSTER_ID" in found["cluster.id"]


def test_a_right_key_in_the_wrong_table_is_recognised(tmp_path: Path) -> None:
    assert "did you mean clock.step?" in problems(tmp_path, MINIMAL + '[cleanup]\nstep = "1s"\n')["cleanup.step"]


def test_an_unknown_flag_is_refused(tmp_path: Path) -> None:
    assert "raft.heartbeat" in problems(tmp_path, MINIMAL, flags={"raft.heartbeats": "1s"})["raft.heartbeats"]


def test_a_misspelt_variable_is_warned_of_and_a_foreign_one_is_not(tmp_path: Path) -> None:
    environment = {"GARBAGETRUCK_RAFT_HEARTBEET": "1s", "GARBAGETRUCK_SERVICE_HOST": "10.0.0.1"}
    (warning,) = load(tmp_path, MINIMAL, environment).warnings
    assert "did you mean GARBAGETRUCK_RAFT_HEARTBEAT?" in warning


@pytest.mark.parametrize(
    ("flags", "key"),
    [
        ({"raft.heartbeat": "150ms"}, "raft.election_timeout_min"),
        ({"raft.election_timeout_max": "600ms"}, "raft.election_timeout_max"),
        ({"raft.leader_fallback": "2s"}, "raft.leader_fallback"),
        ({"raft.leader_fallback": "200ms"}, "raft.leader_fallback"),
        ({"raft.connection_timeout": "500ms"}, "raft.connection_timeout"),
        ({"node.id": "n7"}, "node.id"),
        ({"node.raft": "0.0.0.0:7301"}, "node.raft"),
        ({"node.peer": "0.0.0.0:7501"}, "node.peer"),
        ({"node.peer": "127.0.0.1:7301"}, "node.peer"),
        ({"node.http": "127.0.0.1:7101"}, "node.http"),
        ({"queue.operations_max": "100"}, "queue.batch_operations_max"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(tmp_path: Path, flags: dict[str, str], key: str) -> None:
    assert list(problems(tmp_path, MINIMAL, flags=flags)) == [key]


def test_a_member_outside_this_machine_is_refused_while_traffic_is_not_encrypted(tmp_path: Path) -> None:
    for part, port in (("raft", 7301), ("peer", 7501)):
        found = problems(tmp_path, MINIMAL.replace(f'{part} = "127.0.0.1:{port}"', f'{part} = "10.0.0.1:{port}"'))
        assert "not encrypted" in found[f"cluster.members[0].{part}"]


def test_an_api_that_can_be_reached_from_outside_is_warned_of(tmp_path: Path) -> None:
    (warning,) = load(tmp_path, MINIMAL.replace("127.0.0.1:7101", "10.0.0.1:7101")).warnings
    assert "10.0.0.1:7101" in warning


def test_a_member_without_an_address_is_told_which_it_lacks(tmp_path: Path) -> None:
    found = problems(tmp_path, MINIMAL.replace('peer = "127.0.0.1:7501"\n', ""))
    assert found["cluster.members[0]"].startswith("peer is missing")
    found = problems(tmp_path, MINIMAL.replace("peer =", "peers ="))
    assert found["cluster.members[0]"].startswith("peer is missing and peers is not known")


@pytest.mark.parametrize(
    ("row", "key"),
    [
        (
            'id = "n1"\napi = "127.0.0.1:8101"\nhttp = "127.0.0.1:8201"\nraft = "127.0.0.1:8301"\npeer = "127.0.0.1:8501"',
            "[1].id",
        ),
        (
            'id = "n2"\napi = "127.0.0.1:7101"\nhttp = "127.0.0.1:8201"\nraft = "127.0.0.1:8301"\npeer = "127.0.0.1:8501"',
            "[1].api",
        ),
        (
            'id = "n2"\napi = "127.0.0.1:0"\nhttp = "127.0.0.1:8201"\nraft = "127.0.0.1:8301"\npeer = "127.0.0.1:8501"',
            "[1].api",
        ),
        ('id = "n2"\napi = "127.0.0.1:8101"', "[1]"),
    ],
)
def test_a_wrong_member_is_named_by_its_position(tmp_path: Path, row: str, key: str) -> None:
    text = MINIMAL.replace("[node]", f"[[cluster.members]]\n{row}\n[node]")
    assert list(problems(tmp_path, text)) == ["cluster.members" + key]


def test_an_even_number_of_members_is_warned_of(tmp_path: Path) -> None:
    row = 'id = "n2"\napi = "127.0.0.1:8101"\nhttp = "127.0.0.1:8201"\nraft = "127.0.0.1:8301"\npeer = "127.0.0.1:8501"'
    (warning,) = load(tmp_path, MINIMAL.replace("[node]", f"[[cluster.members]]\n{row}\n[node]")).warnings
    assert "odd number" in warning


def test_a_relative_data_dir_is_meant_from_the_files_folder(tmp_path: Path) -> None:
    assert load(tmp_path, MINIMAL).settings.node.data_dir == tmp_path / "data"
    assert load(tmp_path, MINIMAL, flags={"node.data_dir": "here"}).settings.node.data_dir == Path.cwd() / "here"


def test_a_missing_unreadable_or_broken_file_says_which_and_why(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent\.toml.*No such file"):
        load_settings(tmp_path / "absent.toml", {})
    assert "not TOML" in problems(tmp_path, "[node\n")[str(tmp_path / "node.toml")]
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="UTF-8"):
        load_settings(tmp_path / "binary.toml", {})


def test_a_secret_comes_from_a_file_or_a_variable_and_is_never_shown(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hunter2\n")
    text = (
        MINIMAL
        + f"""
    [handlers.index]
    kind = "http"
    base = "http://127.0.0.1:9000"
    password = {{ env = "INDEX_PASSWORD" }}
    headers = {{ Authorization = {{ file = "{tmp_path / "token"}" }} }}
    """
    )
    loaded = load(tmp_path, text, {"INDEX_PASSWORD": "swordfish"})
    handler = loaded.settings.handlers["index"]
    assert handler.options["password"] == Secret("swordfish")
    assert handler.revealed() == {
        "base": "http://127.0.0.1:9000",
        "password": "swordfish",
        "headers": {"Authorization": "hunter2"},
    }
    told = repr(loaded) + str(loaded.settings) + "".join(value for _, value, _ in loaded.shown())
    assert "hunter2" not in told
    assert "swordfish" not in told
    assert "********" in told


@pytest.mark.parametrize(
    ("option", "key"),
    [
        ('password = "hunter2"', "handlers.index.password"),
        ('headers = { Authorization = "hunter2" }', "handlers.index.headers.Authorization"),
        ('token = { env = "UNSET" }', "handlers.index.token"),
        ('token = { file = "/nonexistent/hunter2" }', "handlers.index.token"),
    ],
)
def test_a_secret_that_stands_in_the_file_or_cannot_be_found_is_refused(tmp_path: Path, option: str, key: str) -> None:
    found = problems(tmp_path, MINIMAL + f"[handlers.index]\n{option}\n")
    assert list(found) == [key]


def test_what_is_shown_is_every_key_as_a_file_would_hold_it(tmp_path: Path) -> None:
    shown = {key: value for key, value, _ in load(tmp_path, MINIMAL).shown()}
    assert list(shown) == [leaf.key for leaf in leaves()]
    assert shown["raft.heartbeat"] == '"100ms"'
    assert shown["queue.renewals_reserved"] == "0.25"
    assert shown["node.api"] == ""
    assert 'api = "127.0.0.1:7101"' in shown["cluster.members"]


TLS = '[raft]\ntls_certificate = "a.pem"\ntls_key = "a.key"\ntls_authority = "ca.pem"\n'


@pytest.mark.parametrize("permission", [TLS, "[raft]\ninsecure_plaintext = true\n"])
@pytest.mark.parametrize(("part", "port"), [("raft", 7301), ("peer", 7501)])
def test_a_nodes_address_outside_this_machine_needs_tls_or_a_plain_word(
    tmp_path: Path, permission: str, part: str, port: int
) -> None:
    exposed = MINIMAL.replace(f'{part} = "127.0.0.1:{port}"', f'{part} = "10.0.0.1:{port}"')
    assert f"cluster.members[0].{part}" in problems(tmp_path, exposed)
    assert getattr(load(tmp_path, exposed + permission).settings.member, part).host == "10.0.0.1"


def test_tls_is_all_or_nothing(tmp_path: Path) -> None:
    found = problems(tmp_path, MINIMAL + TLS.replace('tls_key = "a.key"\n', ""))
    assert found.keys() == {"raft.tls_key"}
    found = problems(tmp_path, MINIMAL + TLS + "insecure_plaintext = true\n")
    assert "raft.insecure_plaintext" in found
