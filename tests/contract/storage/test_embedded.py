"""A PostgreSQL server of our own: made, started, stopped, taken over; from the system's programs and from the wheel's."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from garbagetruck.storage.embedded import server as servers
from garbagetruck.storage.embedded.binaries import Binaries, find_binaries, of_wheel
from garbagetruck.storage.embedded.errors import PostgresNotFound, PostgresNotStarted
from garbagetruck.storage.embedded.server import EmbeddedPostgres
from tests.contract.storage.processes import kill
from tests.contract.storage.rigs import PostgresRig
from tests.contract.storage.samples import FIRST, archive, archived, entries


@pytest.fixture(scope="module")
def wheel() -> Binaries:
    return find_binaries(next(of_wheel()))


@pytest.fixture(scope="module")
def made(wheel: Binaries, reachable_folder: Path) -> Iterator[EmbeddedPostgres]:
    """From the wheel, whatever the shared one is from; made once, and up or down as the test before left it."""
    server = EmbeddedPostgres(reachable_folder / "wheel", wheel, durable=False)
    server.start()
    yield server
    server.stop()


async def test_the_wheels_server_keeps_snapshots_and_archive(made: EmbeddedPostgres) -> None:
    made.start()
    async with PostgresRig(made).open() as storage:
        await storage.incarnations.reserve(FIRST, by="n1")
        await archive(storage, 4)
        assert await archived(storage, 1) == entries(1, 4)


async def test_it_comes_back_as_it_was(made: EmbeddedPostgres, wheel: Binaries) -> None:
    made.start()
    rig = PostgresRig(made)
    async with rig.open() as storage:
        await storage.incarnations.reserve(FIRST, by="n1")
    before = made.port
    await asyncio.to_thread(made.stop)
    assert made.pid is None
    again = EmbeddedPostgres(made.password_file.parent, wheel, durable=False)
    with again:
        assert again.port == before
        async with rig.open() as storage:
            assert [each.incarnation for each in await storage.incarnations.reserved()] == [FIRST]


def test_it_comes_back_after_it_was_killed(made: EmbeddedPostgres) -> None:
    made.start()
    kill(made)
    made.start()
    assert made.pid is not None


def test_one_that_runs_is_taken_over_and_can_be_stopped(made: EmbeddedPostgres, wheel: Binaries) -> None:
    made.start()
    pid = made.pid
    other = EmbeddedPostgres(made.password_file.parent, wheel, durable=False)
    other.start()
    assert (other.pid, other.port) == (pid, made.port)
    other.stop()
    assert made.pid is None
    other.stop()


def test_a_port_that_was_taken_meanwhile_is_given_up(made: EmbeddedPostgres) -> None:
    made.stop()
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # whatever the server's connections left there
        thief.bind((servers.HOST, made.port))
        thief.listen()
        taken = made.port
        made.start()
        assert made.port != taken


async def test_only_loopback_and_only_with_the_password(made: EmbeddedPostgres) -> None:
    made.start()
    assert made.pid is not None
    listening = [each.laddr.ip for each in psutil.Process(made.pid).net_connections() if each.status == "LISTEN"]
    assert listening == ["127.0.0.1"]
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(made.dsn, password="guess")
    assert made.password_file.stat().st_mode & 0o077 == 0


def test_nothing_of_it_is_left(made: EmbeddedPostgres) -> None:
    made.start()
    assert made.pid is not None
    family = [psutil.Process(made.pid), *psutil.Process(made.pid).children(recursive=True)]
    made.stop()
    _, alive = psutil.wait_procs(family, 10)
    assert alive == []


def test_a_folder_of_another_version_is_refused(made: EmbeddedPostgres, wheel: Binaries) -> None:
    made.stop()
    other = EmbeddedPostgres(made.password_file.parent, Binaries(wheel.folder, wheel.version + 1))
    with pytest.raises(PostgresNotStarted, match=f"made by PostgreSQL {wheel.version}"):
        other.start()


def test_a_server_that_does_not_start_says_why(made: EmbeddedPostgres, wheel: Binaries) -> None:
    made.stop()
    other = EmbeddedPostgres(made.password_file.parent, wheel, durable=False, options={"no_such_setting": "1"})
    with pytest.raises(PostgresNotStarted, match="no_such_setting"):
        other.start()
    assert other.pid is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has another account run the server")
def test_as_root_a_folder_that_the_servers_account_cannot_enter_is_refused_at_once(
    tmp_path: Path, wheel: Binaries
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(PostgresNotStarted, match="cannot enter"):
        EmbeddedPostgres(closed / "postgres", wheel).start()
    assert not (closed / "postgres" / "data").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has another account run the server")
def test_as_root_programs_that_the_servers_account_cannot_get_at_are_copied(
    tmp_path: Path, wheel: Binaries, reachable_folder: Path
) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "pginstall").symlink_to(wheel.folder.parent)
    hidden = Binaries(tmp_path / "pginstall" / "bin", wheel.version)
    with EmbeddedPostgres(reachable_folder / "copied", hidden, durable=False) as server:
        assert server.pid is not None
        assert Path(f"/proc/{server.pid}/exe").readlink().is_relative_to(reachable_folder)


def test_a_folder_without_programs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PostgresNotFound, match="initdb and postgres are needed"):
        find_binaries(tmp_path)


def test_a_server_that_is_too_old_is_not_found(tmp_path: Path) -> None:
    for name in ("initdb", "postgres"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 12.22'\n", encoding="utf-8")
        program.chmod(0o755)
    with pytest.raises(PostgresNotFound, match="13 or newer"):
        find_binaries(tmp_path)
