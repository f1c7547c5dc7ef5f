"""Three replicas as processes, which a test can kill, pause and start again."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.integration.raft.replicas import IDS, Bell, free_ports

ROOT = Path(__file__).parents[3]


class Process:
    """One member, and what it said since it was started."""

    def __init__(self, process: asyncio.subprocess.Process, bell: Bell) -> None:
        self.process = process
        self.applied: list[str] = []
        self.restored = 0
        """How often it went on from a snapshot."""
        self.role, self.term = "follower", 0
        self.leader: str | None = None
        self.fatal: str | None = None
        self._bell = bell
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            said = json.loads(line)
            self.applied = [*said.get("restored", self.applied), *said.get("applied", [])]
            self.restored += "restored" in said
            self.fatal = said.get("fatal", self.fatal)
            if "role" in said:
                self.role, self.term, self.leader = said["role"], said["term"], said["leader"]
            self._bell.ring()

    def propose(self, payload: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(payload.encode() + b"\n")

    async def end(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        await self.process.wait()
        await self.reading


@dataclass(frozen=True)
class Site:
    """Where members run: their addresses, what their commands begin with, and the PEM files of each, or none."""

    members: Mapping[str, str]
    prefix: Callable[[str], Sequence[str]] = lambda _: ()
    tls: Callable[[str], Sequence[Path]] = lambda _: ()


class Processes:
    """`site` says where they run, if not all on loopback; `settings` are those of the log that are not the defaults."""

    def __init__(self, folder: Path, site: Site | None = None, **settings: int) -> None:
        self._folder = folder
        self._site = site or Site(
            {node_id: f"127.0.0.1:{port}" for node_id, port in zip(IDS, free_ports(len(IDS)), strict=True)}
        )
        self._settings = settings
        self.bell = Bell()
        self.running: dict[str, Process] = {}

    async def start(self, node_id: str) -> None:
        own = {
            "node_id": node_id,
            "members": self._site.members,
            "folder": str(self._folder / node_id),
            "settings": self._settings,
            "tls": [str(path) for path in self._site.tls(node_id)],
        }
        process = await asyncio.create_subprocess_exec(
            *self._site.prefix(node_id),
            sys.executable,
            "-m",
            "tests.integration.raft.member",
            json.dumps(own),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=2**24,
        )
        self.running[node_id] = Process(process, self.bell)

    async def kill(self, node_id: str) -> Process:
        """`kill -9`."""
        process = self.running.pop(node_id)
        await process.end(signal.SIGKILL)
        return process

    def pause(self, node_id: str) -> None:
        self.running[node_id].process.send_signal(signal.SIGSTOP)

    def resume(self, node_id: str) -> None:
        self.running[node_id].process.send_signal(signal.SIGCONT)

    def propose(self, payload: str) -> None:
        """To all; whoever leads takes it."""
        for process in self.running.values():
            process.propose(payload)

    async def leader(self, *, but: str = "") -> str:
        found = ""

        def agreed() -> bool:
            nonlocal found
            others = {node_id: each for node_id, each in self.running.items() if node_id != but}
            leaders = {each.leader for each in others.values()}
            found = leaders.pop() or "" if len(leaders) == 1 else ""
            return found in others and others[found].role == "leader"

        await self.bell.until(agreed)
        return found


@asynccontextmanager
async def processes(folder: Path, site: Site | None = None, **settings: int) -> AsyncIterator[Processes]:
    nodes = Processes(folder, site, **settings)
    try:
        for node_id in IDS:
            await nodes.start(node_id)
        yield nodes
    finally:
        for node_id in list(nodes.running):
            await nodes.kill(node_id)
