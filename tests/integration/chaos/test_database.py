"""The PostgreSQL server of a chaos run: hurt as it is told, and gone with the run, whatever became of that."""

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from garbagetruck.chaos.processes import proc
from garbagetruck.chaos.processes.database import Database, has_life
from garbagetruck.chaos.processes.keeper import PREFIX
from garbagetruck.storage.errors import StorageFailed

GONE_TIMEOUT_S = 60.0
HOLDS = """
import asyncio, sys
from pathlib import Path
from garbagetruck.chaos.processes.database import Database

async def hold():
    async with Database(Path(sys.argv[1]), "tests") as database:
        disk = database.small_disk()
        if not disk.why_not():
            disk.mount()
        await database.stop()
        print(database.folder, *database.processes(), flush=True)
        await asyncio.sleep(600)

asyncio.run(hold())
"""


async def test_it_is_killed_stopped_and_started_and_keeps_its_address(tmp_path: Path) -> None:
    async with Database(tmp_path, "tests") as database:
        folder, address, dsn = database.folder, database.wire.address, database.dsn
        before = database.processes()
        assert before[0] in await database.kill()
        assert not any(has_life(pid) for pid in before)
        assert database.processes() == []
        with pytest.raises(StorageFailed):
            await database.say("SELECT 1")
        await database.start()
        assert (database.dsn, database.wire.address) == (dsn, address)
        assert not set(before) & set(database.processes())
        stopped = await database.stop()
        assert {proc.state_of(pid) for pid in stopped if has_life(pid)} == {proc.STOPPED}
        database.go_on()
        await database.say("SELECT 1")
        assert database.password_file.read_text().strip() not in str(database.settings)
    assert not folder.exists()
    assert not any(has_life(pid) for pid in stopped)
    assert "database system is ready" in (tmp_path / "postgres.log").read_text()


def test_nothing_is_left_of_it_when_its_run_is_killed_while_it_is_stopped(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        folder, *pids = run.stdout.readline().split()
        assert Path(folder).name.startswith(f"{PREFIX}{run.pid}-")
        assert pids
        run.send_signal(signal.SIGKILL)
    deadline_s = time.monotonic() + GONE_TIMEOUT_S
    while Path(folder).exists() or any(psutil.pid_exists(int(pid)) and has_life(int(pid)) for pid in pids):
        assert time.monotonic() < deadline_s, f"{folder} or {pids} are left"
        time.sleep(0.05)


async def test_a_small_disk_is_full_and_relieved_and_gone(tmp_path: Path) -> None:
    async with Database(tmp_path, "tests") as database:
        disk = database.small_disk()
        if why_not := disk.why_not():
            pytest.skip(why_not)
        disk.mount()
        await asyncio.to_thread(disk.fill)
        assert disk.free_bytes == 0
        disk.relieve()
        assert disk.free_bytes > 1 << 20
        disk.unmount()
        assert not disk.mounted
