"""A password that a node was given stands in nothing that it says, leaves or is started with, whatever befalls it."""

import asyncio
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
import tomlkit
from typer.testing import CliRunner

from garbagetruck.cli.app import app
from garbagetruck.storage.embedded import console
from garbagetruck.storage.embedded.server import EmbeddedPostgres
from tests.cluster_fixtures.command_line import until
from tests.integration.node.test_one_node import Place, prepared

PASSWORD = "open/sesame@42%"  # planted, with what an address has to write otherwise
FORMS = (PASSWORD, quote(PASSWORD, safe=""), "sesame")
ROLE = "truck"
SHORT = {"connect_timeout": "500ms", "lock_timeout": "500ms", "statement_timeout": "1s", "answer_timeout": "1500ms"}
STOP_TIMEOUT_S = 30.0


class Said:
    """Everything that was said so far, by who said it."""

    def __init__(self) -> None:
        self._texts: list[tuple[str, str]] = []

    def add(self, who: str, text: str) -> None:
        self._texts.append((who, text))

    def by(self, who: str) -> str:
        return "\n".join(text for each, text in self._texts if each == who)

    def telling(self) -> list[str]:
        return [who for who, text in self._texts if any(form in text for form in FORMS)]


def superuser(server: EmbeddedPostgres, *statements: str) -> None:
    asyncio.run(console.say(server.dsn, server.password_file.read_text(encoding="utf-8").strip(), statements))


@pytest.fixture
def role(server: EmbeddedPostgres) -> Iterator[None]:
    superuser(server, f"CREATE ROLE {ROLE} SUPERUSER LOGIN PASSWORD '{PASSWORD}'")
    yield
    if server.pid is None:
        server.start()
    superuser(server, "DROP SCHEMA IF EXISTS secrecy CASCADE", f"DROP OWNED BY {ROLE}", f"DROP ROLE {ROLE}")


def configure(place: Place, server: EmbeddedPostgres, way: str) -> None:
    address = server.dsn.partition("@")[2]
    table: dict[str, object] = {"kind": "postgres", "schema": "secrecy", "archive_interval": "50ms", **SHORT}
    if way == "address":
        table["dsn"] = f"postgresql://{ROLE}:{quote(PASSWORD, safe='')}@{address}"
    elif way == "parameter":
        table["dsn"] = f"postgresql://{ROLE}@{address}&password={quote(PASSWORD, safe='')}"
    else:
        file = place.folder / "its.password"
        file.write_text(PASSWORD + "\n")
        table |= {"dsn": f"postgresql://{ROLE}@{address}", "password_file": str(file)}
    path = place.folder / "n1.toml"
    config = tomlkit.parse(path.read_text())
    config["storage"] = table
    path.write_text(tomlkit.dumps(config))


@contextmanager
def serving(place: Place, said: Said) -> Iterator[subprocess.Popen[bytes]]:
    """The node, as a process; what it logged is said in the end."""
    log, config = place.folder / "n1.log", str(place.folder / "n1.toml")
    with log.open("wb") as stream:
        node = subprocess.Popen(
            [sys.executable, "-m", "garbagetruck.cluster.node", "--config", config, "--bootstrap"],
            stdout=stream,
            stderr=stream,
            env=os.environ | {"GARBAGETRUCK_LOG_LEVEL": "debug"},
        )
    try:
        yield node
        node.send_signal(signal.SIGTERM)
        assert node.wait(STOP_TIMEOUT_S) == 0
    finally:
        node.kill()
        node.wait()
        said.add("the log", log.read_text(encoding="utf-8"))


def page(place: Place, path: str) -> str:
    url = f"http://127.0.0.1:{place.base_port + 101}{path}"
    try:
        with urllib.request.urlopen(url, timeout=5.0) as answer:  # our own address
            return str(answer.read().decode())
    except OSError:
        return ""


def ask_everything(place: Place, node: subprocess.Popen[bytes], said: Said) -> None:
    for path in ("/metrics", "/", "/livez", "/readyz"):
        said.add(path, page(place, path))
    config = str(place.folder / "n1.toml")
    for line in (
        ["status", "-o", "json", "--endpoints", place.api],
        ["config", "show", "--config", config],
        ["config", "show", "--origin", "--config", config],
        ["config", "check", "--config", config],
    ):
        ran = CliRunner().invoke(app, line)
        said.add(" ".join(line[:2]), ran.output)
    for name in ("cmdline", "environ", "comm"):
        said.add(name, Path(f"/proc/{node.pid}/{name}").read_text(encoding="utf-8", errors="replace"))


def restore(place: Place, source: str, said: Said) -> None:
    """One that comes to nothing: its errors are what matters."""
    line = ["snapshot", "restore", "--from", source, "--config", str(place.folder / "n1.toml"), "--yes"]
    ran = CliRunner().invoke(app, [*line, "--data-dir", str(place.folder / "new"), "--old-cluster-is-dead"])
    assert ran.exit_code == 3, ran.output
    said.add("snapshot restore", ran.output + repr(ran.exception))


def fails(place: Place) -> bool:
    return "garbagetruck_snapshot_archive_failing 1.0" in page(place, "/metrics")


def archives(place: Place) -> bool:
    metrics = page(place, "/metrics")
    found = [line for line in metrics.splitlines() if line.startswith("garbagetruck_snapshot_archived_index ")]
    return any(float(line.split()[1]) > 0 for line in found) and not fails(place)


@pytest.mark.parametrize("way", ["address", "parameter", "file"])
@pytest.mark.usefixtures("role")
def test_a_password_is_told_to_nobody(tmp_path: Path, server: EmbeddedPostgres, way: str) -> None:
    """While all is well, when it is the wrong one, and when nobody answers."""
    place, said = prepared(tmp_path / "cluster"), Said()
    configure(place, server, way)
    with serving(place, said) as node:
        until(lambda: archives(place))
        ask_everything(place, node, said)
        superuser(
            server,
            f"ALTER ROLE {ROLE} PASSWORD 'another'",
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{ROLE}'",
        )
        until(lambda: fails(place))
        ask_everything(place, node, said)
        source = tomlkit.parse((place.folder / "n1.toml").read_text()).unwrap()["storage"]["dsn"]
        restore(place, source, said)
        server.stop()
        until(lambda: "archive_waits" in (place.folder / "n1.log").read_text())
        ask_everything(place, node, said)
        restore(place, source, said)
        server.start()
        superuser(server, f"ALTER ROLE {ROLE} PASSWORD '{PASSWORD}'")
        until(lambda: archives(place))
    assert "password authentication failed" in said.by("the log"), "what went wrong is said all the same"
    assert ROLE in said.by("config show")
    assert said.telling() == []
    own = {place.folder / "n1.toml", place.folder / "its.password"}
    files = [path for path in place.folder.rglob("*") if path.is_file() and path not in own]
    assert [path for path in files if any(form.encode() in path.read_bytes() for form in FORMS)] == []


@pytest.mark.parametrize(
    "address",
    [
        f"postgresql://{ROLE}:sesame@[::1/x",
        f"postgres//{ROLE}:sesame@db/x",
        f"postgresql://{ROLE}:sesame@db:notaport/x",
        f"postgresql://{ROLE}@db/x?password=sesame&sslmode=sideways",
    ],
)
def test_an_address_that_is_none_is_refused_without_its_password(tmp_path: Path, address: str) -> None:
    place, said = prepared(tmp_path / "cluster"), Said()
    path = place.folder / "n1.toml"
    config = tomlkit.parse(path.read_text())
    config["storage"] = {"kind": "postgres", "dsn": address, **SHORT}
    path.write_text(tomlkit.dumps(config))
    for line in (["config", "show"], ["config", "check"]):
        ran = CliRunner().invoke(app, [*line, "--config", str(path)])
        said.add(" ".join(line), ran.output + repr(ran.exception))
    environ = {"GARBAGETRUCK_STORAGE_DSN": address}
    path.write_text(path.read_text().replace(f'dsn = "{address}"', ""))
    ran = CliRunner(env=environ).invoke(app, ["config", "show", "--origin", "--config", str(path)])
    said.add("of the environment", ran.output + repr(ran.exception))
    ran = CliRunner().invoke(app, ["snapshot", "restore", "--from", address, "--config", str(path), "--yes"])
    said.add("snapshot restore", ran.output + repr(ran.exception))
    assert said.telling() == []
