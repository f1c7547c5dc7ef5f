"""`python -m examples.disaster`: three nodes under load, every process and disk lost, and the cluster restored.

The commands are those of docs/disaster-recovery.md. The last line on stdout is one JSON object; exit code 0 when at most a
second of what was acknowledged is lost, nothing was deleted, and every service with a session carried on by itself. Nothing
is left behind, neither a process nor the folder.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import garbagetruck
from examples.disaster.load import Load
from garbagetruck.client.errors import GarbageTruckError
from garbagetruck.storage.embedded.binaries import find_binaries
from garbagetruck.storage.embedded.server import EmbeddedPostgres

LOST_MS_MAX = 1_000
BASE_PORT = 8_300
START_TIMEOUT_S = 90.0
LOOK_S = 3.0
"""How long the restored cluster is watched for whether it deletes anything."""
GARBAGETRUCK = str(Path(sys.executable).with_name("garbagetruck"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.disaster")
    parser.add_argument("--seconds", type=float, default=8.0, help="how long the load runs before the disaster")
    parser.add_argument("--rate", type=int, default=500, help="acquires a second")
    parser.add_argument("--base-port", type=int, default=BASE_PORT)
    told = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="garbagetruck-disaster-"))
    folder.chmod(0o711)  # the server's account has to get through, when it is not ours
    server = EmbeddedPostgres(folder / "postgres", find_binaries(None))
    running: list[subprocess.Popen[str]] = []
    try:
        server.start()
        verdict = asyncio.run(_perform(folder, server, told, running))
    finally:
        for process in running:
            process.kill()
            process.wait()
        server.stop()
        shutil.rmtree(folder)
    print(json.dumps(verdict))
    holds = verdict["lost_after_ms"] <= LOST_MS_MAX and not verdict["cleaned_by_restore"]
    return 0 if holds and verdict["carried_on"] == verdict["session_leases"] else 1


async def _perform(
    folder: Path, server: EmbeddedPostgres, told: argparse.Namespace, running: list[subprocess.Popen[str]]
) -> dict[str, Any]:
    cluster = folder / "cluster"
    password = server.password_file.read_text(encoding="utf-8").strip()
    dsn = server.dsn.replace("@", f":{password}@", 1)
    up = ["up", "--storage", "postgres", "--postgres", dsn, "--data-dir", str(cluster)]
    supervisor = _start([*up, "--base-port", str(told.base_port)], running, "up --storage postgres --postgres DSN")
    await _until_line(supervisor, "ready")
    nodes = json.loads((cluster / "cluster.json").read_text(encoding="utf-8"))["nodes"]
    async with Load(",".join(each["api"] for each in nodes), cluster / "files", told.rate) as load:
        working = asyncio.create_task(load.run())
        await asyncio.sleep(told.seconds)
        _say(f"{len(load.acknowledged)} leases acknowledged; every node and every disk is lost now")
        lost_s = _lose_everything(supervisor, nodes)
        working.cancel()
        await asyncio.wait({working})
        config, new = Path(nodes[0]["config"]), folder / "new"
        verify = ["snapshot", "verify", "--from", server.dsn, "--config", str(config)]
        checked = (await asyncio.to_thread(_run, [*verify, "-o", "json"]))["snapshots"]
        _say(f"{len(checked)} snapshots were read back, and are what was written")
        restore = [
            "snapshot",
            "restore",
            "--from",
            server.dsn,
            "--config",
            str(config),
            "--data-dir",
            str(new),
            "--yes",
        ]
        report = await asyncio.to_thread(_run, [*restore, "-o", "json"])
        _say(report["may_be_missing"])
        _serve_from(config, nodes[0]["data_dir"], str(new))
        began_s = time.monotonic()
        _start(["serve", "--config", str(config)], running, f"serve --config {config.name}")
        found = await _leases(nodes[0]["api"])
        _say(f"serving again {time.monotonic() - began_s:.1f} s after it was started; {len(found)} leases are there")
        await load.carry_on()
        await asyncio.sleep(LOOK_S)
        verdict = _verdict(load, found, lost_s) | _carried_on(load, await _leases(nodes[0]["api"]))
        _say(f"{verdict['registered_anew']} leases were registered anew by the sessions that hold them")
        return verdict


def _verdict(load: Load, found: set[str], lost_s: float) -> dict[str, int]:
    """What was lost, and what was deleted."""
    acknowledged = {lease: when for lease, when in load.acknowledged.items() if when <= lost_s}
    missing = [when for lease, when in acknowledged.items() if lease not in found]
    lost_ms = max((lost_s - when for when in missing), default=0.0) * 1_000
    return {
        "acknowledged": len(acknowledged),
        "restored": len(acknowledged) - len(missing),
        "lost_after_ms": round(lost_ms),
        "cleaned_by_restore": sum(not path.exists() for path in load.in_use),
    }


def _carried_on(load: Load, found: set[str]) -> dict[str, int]:
    """What services with a session hold now, which of it the restored cluster knows, and which of that it had lost."""
    held = [(former, lease) for service in load.services for former, lease in service.held.items()]
    known = [lease for _, lease in held if lease.id in found and not lease.lost.is_set()]
    return {
        "sessions": len(load.services),
        "session_leases": len(held),
        "carried_on": len(known),
        "registered_anew": sum(former != lease.id for former, lease in held),
    }


def _serve_from(config: Path, former: str, new: str) -> None:
    """Have the node's configuration name the restored folder."""
    config.write_text(config.read_text(encoding="utf-8").replace(former, new), encoding="utf-8")


def _lose_everything(supervisor: subprocess.Popen[str], nodes: Sequence[dict[str, Any]]) -> float:
    """`kill -9` of all, and their folders gone; when it began, by the monotonic clock."""
    lost_s = time.monotonic()
    for pid in (supervisor.pid, *(each["pid"] for each in nodes)):
        os.kill(pid, signal.SIGKILL)
    supervisor.wait()
    for each in nodes:
        while Path(f"/proc/{each['pid']}/exe").exists():
            time.sleep(0.01)
        shutil.rmtree(each["data_dir"])
    return lost_s


async def _leases(endpoint: str) -> set[str]:
    """All that the restored cluster knows, as soon as it answers."""
    async with asyncio.timeout(START_TIMEOUT_S), garbagetruck.connect(endpoint) as truck:
        while True:
            try:
                return {lease.id async for lease in truck.list_leases()}
            except GarbageTruckError:
                await asyncio.sleep(0.2)


def _start(arguments: Sequence[str], running: list[subprocess.Popen[str]], shown: str) -> subprocess.Popen[str]:
    _say(f"$ garbagetruck {shown}")
    command = [GARBAGETRUCK, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)  # noqa: S603  # our own
    running.append(process)
    return process


async def _until_line(process: subprocess.Popen[str], beginning: str) -> None:
    assert process.stdout is not None
    line = await asyncio.wait_for(asyncio.to_thread(process.stdout.readline), START_TIMEOUT_S)
    if not line.startswith(beginning):
        raise SystemExit(f"disaster: the cluster did not start: {line!r}")


def _run(arguments: Sequence[str]) -> dict[str, Any]:
    _say(f"$ garbagetruck {' '.join(arguments)}")
    done = subprocess.run([GARBAGETRUCK, *arguments], capture_output=True, text=True, check=False)  # noqa: S603  # our own
    if done.returncode:
        raise SystemExit(f"disaster: {done.stderr}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
