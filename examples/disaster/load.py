"""What services did until the disaster, written down by themselves: each lease, and when it was acknowledged.

Most of them are gone after it. Those with a session live on, and have to find themselves in the restored cluster without
being told. Must not know: what became of the cluster.
"""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import garbagetruck
from garbagetruck.client import Lease, Session, Truck
from garbagetruck.client.errors import GarbageTruckError

WORKERS = 16
FILES_EVERY = 20
"""One lease in so many is on a file, so that there is something to delete."""
TTL_S = 300.0
SESSION_EVERY = 8
"""One lease in so many is in a session."""
SESSION_LEASES = 10
"""After so many there is another session: so some of them are of the last second."""
SESSION_TTL_S = 90.0
"""Longer than the restore takes."""
CALL_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Service:
    """One that lives on: its session, and what it held when the disaster came, by the id that each lease had."""

    session: Session
    held: dict[str, Lease]


@dataclass(slots=True)
class Load:
    """Acquires `rate_per_s` leases a second until it is stopped, or nobody answers. `async with` it: its sessions are open
    for as long.
    """

    endpoints: str
    files: Path
    rate_per_s: int
    acknowledged: dict[str, float] = field(default_factory=dict)
    """Lease id -> when it was acknowledged, in seconds of this process's monotonic clock."""
    in_use: list[Path] = field(default_factory=list)
    services: list[Service] = field(default_factory=list)
    _number: int = 0
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    _open: AsyncExitStack = field(default_factory=AsyncExitStack)
    _truck: Truck | None = None

    async def __aenter__(self) -> Self:
        self._truck = await self._open.enter_async_context(garbagetruck.connect(self.endpoints))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._open.__aexit__(kind, error, traceback)

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(self._work())

    async def _work(self) -> None:
        pace_s = WORKERS / self.rate_per_s
        due_s = time.monotonic()
        while True:
            due_s = max(due_s + pace_s, time.monotonic() - pace_s)
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            self._number += 1
            await self._acquire(self._number)

    async def _acquire(self, number: int) -> None:
        assert self._truck is not None, "it was entered"
        name = f"upload-{number}"
        cleanup = None
        if number % FILES_EVERY == 0:
            path = self.files / name
            path.write_text("in use")
            cleanup = garbagetruck.Cleanup("file", path=name)
        try:
            if number % SESSION_EVERY == 0:
                service = await self._service()
                lease = await service.session.acquire(name, cleanup=cleanup)
                service.held[lease.id] = lease
            else:
                lease = await self._truck.acquire(name, holder="service", ttl=TTL_S, cleanup=cleanup)
        except GarbageTruckError:
            return  # refused, or unknown: nobody was promised anything
        self.acknowledged[lease.id] = time.monotonic()
        if cleanup is not None:
            self.in_use.append(self.files / name)

    async def _service(self) -> Service:
        """One with room for a lease."""
        assert self._truck is not None, "it was entered"
        async with self._opening:
            if not self.services or len(self.services[-1].held) >= SESSION_LEASES:
                session = self._truck.session(holder=f"service-{len(self.services)}", ttl=SESSION_TTL_S)
                self.services.append(Service(await self._open.enter_async_context(session), {}))
            return self.services[-1]

    async def carry_on(self) -> None:
        """Have each service go on with its work, as if nothing had happened: it takes one more lease in its session."""
        for number, service in enumerate(self.services):
            await service.session.acquire(f"after-{number}", timeout=CALL_TIMEOUT_S)
