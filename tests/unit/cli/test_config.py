"""Settings as flags, and the configuration to begin with."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from garbagetruck.cli.app import app


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "n1.toml"
    path.write_text(CliRunner().invoke(app, ["config", "example"]).stdout)
    return path


def show(config: Path, *flags: str, **environment: str) -> list[str]:
    result = CliRunner(env=environment).invoke(app, ["config", "show", "--config", str(config), "--origin", *flags])
    assert result.exit_code == 0, result.stderr
    return [line for line in result.stdout.splitlines() if line.startswith("raft.heartbeat ")]


def test_the_example_is_a_configuration_that_nothing_is_wrong_with(config: Path) -> None:
    result = CliRunner().invoke(app, ["config", "check", "--config", str(config)])
    assert (result.exit_code, result.stdout) == (0, "")
    assert "nothing is wrong" in result.stderr


def test_a_flag_beats_a_variable_beats_the_file(config: Path) -> None:
    assert show(config)[0].endswith("# default")
    assert show(config, GARBAGETRUCK_RAFT_HEARTBEAT="60ms")[0].endswith("# environment GARBAGETRUCK_RAFT_HEARTBEAT")
    (line,) = show(config, "--raft-heartbeat", "70ms", GARBAGETRUCK_RAFT_HEARTBEAT="60ms")
    assert "70ms" in line
    assert line.endswith("# flag --raft-heartbeat")
    assert show(config, "--raft-heartbeat=70ms") == [line]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--raft-heartbeat"], "needs a value"),
        (["--raft-heartbeat=1s", "--raft-heartbeat=2s"], "given twice"),
        (["stray"], "stray is not known"),
    ],
)
def test_a_wrong_setting_flag_is_wrong_usage(config: Path, flags: list[str], told: str) -> None:
    result = CliRunner().invoke(app, ["config", "check", "--config", str(config), *flags])
    assert result.exit_code == 2
    assert told in result.stderr


def test_everything_wrong_is_told_at_once_and_a_near_miss_in_the_environment_too(config: Path) -> None:
    result = CliRunner().invoke(
        app, ["config", "check", "--config", str(config), "--raft-heartbeat", "soon", "--node-id", "?"]
    )
    assert result.exit_code == 1
    assert "raft.heartbeat" in result.stderr
    assert "node.id" in result.stderr
    environment = {"GARBAGETRUCK_RAFT_HEARTBEET": "1s"}
    result = CliRunner(env=environment).invoke(app, ["config", "check", "--config", str(config)])
    assert "did you mean GARBAGETRUCK_RAFT_HEARTBEAT?" in result.stderr


def test_all_that_is_wrong_with_handlers_is_told_at_once(config: Path) -> None:
    handlers = """
        [handlers.one]
        kind = "file"
        roots = ["relative"]
        [handlers.two]
        kind = "http"
        base_url = "ftp://x"
        [handlers.three]
        kind = "zip"
        [handlers.four]
        kind = "file"
        roots = ["/nonexistent"]
    """
    config.write_text(config.read_text() + handlers)
    result = CliRunner().invoke(app, ["config", "check", "--config", str(config)])
    assert result.exit_code == 1
    for key in ("handlers.one", "handlers.two.base_url", "handlers.three.kind", "handlers.four"):
        assert key in result.stderr


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        (["--queue-operations-max", str(10**20)], "queue.operations_max: '100000000000000000000' is out of bounds"),
        (["--queue-operations-max", "9" * 5_000], "is out of bounds"),
        (["--queue-operations-max", "1e9"], "'1e9' is not a whole number"),
        (["--raft-heartbeat", "9" * 5_000 + "ms"], "raft.heartbeat: '999999999999...99999999999ms' is not a duration"),
        (["--handlers", f'{{"file":{{"slots":{10**20}}}}}'], f"handlers.file.slots: {10**20} is out of bounds"),
        (["--handlers", f'{{"file":{{"slots":{"9" * 5_000}}}}}'], "handlers: the text is not JSON"),
        (["--handlers", "[" * 100_000], "handlers: the text is not JSON"),
    ],
)
def test_a_number_that_is_too_large_is_told_with_its_key_and_in_a_line(
    config: Path, flag: list[str], told: str
) -> None:
    result = CliRunner().invoke(app, ["config", "check", "--config", str(config), *flag])
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert told in line
    assert len(line) < 300


@pytest.mark.parametrize("value", ["9" * 5_000, "[" * 100_000])
def test_a_file_that_python_cannot_read_is_not_toml(config: Path, value: str) -> None:
    config.write_text(f"x = {value}\n{config.read_text()}")
    result = CliRunner().invoke(app, ["config", "check", "--config", str(config)])
    assert result.exit_code == 1
    assert "n1.toml: is not TOML: " in result.stderr


@pytest.mark.parametrize(
    "setting",
    [
        pytest.param('[raft]\nheartbeat = "soon"', id="a value that is none"),
        pytest.param('[raft]\nheartbeat = "400ms"', id="one that does not fit the others"),
        pytest.param("[raft]\nheartbeat_of = 1", id="a key that is none"),
    ],
)
def test_what_is_wrong_with_handlers_is_told_beside_what_is_wrong_with_settings(config: Path, setting: str) -> None:
    handlers = """
        [handlers.one]
        kind = "http"
        base_url = "ftp://x"
        [handlers.two]
        slots = 0
        [handlers.three]
        kind = "file"
        roots = ["/nonexistent"]
        [handlers.four]
        token = "hunter2"
        [handlers.five]
        kind = "zip"
    """
    config.write_text(f"{config.read_text()}\n{setting}\n{handlers}")
    result = CliRunner().invoke(app, ["config", "check", "--config", str(config)])
    assert result.exit_code == 1
    wrong = ("raft.", "one.base_url", "two.slots", "three", "four.token", "five.kind")
    lines = result.stderr.splitlines()
    assert [any(part in line for line in lines) for part in wrong] == [True] * len(wrong), result.stderr
    assert "nothing is wrong" not in result.stderr


def test_handlers_of_stores_are_asked_whether_they_reach_them(config: Path) -> None:
    handlers = """
        [handlers.orders]
        kind = "sql"
        dsn = { env = "ORDERS" }
        [handlers.orders.statements.upload]
        parameters = { id = "integer" }
        steps = [{ sql = "DELETE FROM uploads WHERE id = :id AND token < :fencing_token" }]
        [handlers.blobs]
        kind = "s3"
        endpoint_url = "http://127.0.0.1:1"
        fence = "version"
        buckets = { uploads = ["tmp/"] }
        credentials = { access_key_id = { env = "KEY_ID" }, secret_access_key = { env = "KEY" } }
    """
    config.write_text(f"{config.read_text()}\n{handlers}")
    secrets = {"ORDERS": "postgresql://u:hush-1@127.0.0.1:1/orders", "KEY_ID": "AKIA", "KEY": "hush-2"}
    result = CliRunner(env=secrets).invoke(app, ["config", "check", "--config", str(config)])
    assert result.exit_code == 1
    assert [line.partition(": ")[2].partition(":")[0] for line in result.stderr.splitlines()] == [
        "handlers.orders",
        "handlers.blobs",
    ]
    shown = CliRunner(env=secrets).invoke(app, ["config", "show", "--config", str(config)])
    assert shown.exit_code == 0
    assert "handlers" in shown.stdout
    assert "hush" not in shown.stdout + result.stderr


def test_a_secret_of_a_store_may_not_stand_in_the_configuration_itself(config: Path) -> None:
    handlers = """
        [handlers.orders]
        kind = "sql"
        dsn = "postgresql://u:hush@127.0.0.1/orders"
        [handlers.blobs]
        kind = "s3"
        credentials = { access_key_id = "AKIA", secret_access_key = "hush" }
    """
    config.write_text(f"{config.read_text()}\n{handlers}")
    result = CliRunner().invoke(app, ["config", "check", "--config", str(config)])
    assert result.exit_code == 1
    for key in ("handlers.orders.dsn", "handlers.blobs.credentials.secret_access_key"):
        assert key in result.stderr
    assert "hush" not in result.stderr
