"""What services did until the disaster, written down by themselves: each lease, and when it was acknowledged.

Must not know: what became of the cluster.
"""

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

import garbagetruck
from garbagetruck.client import Truck
from garbagetruck.client.errors import GarbageTruckError

WORKERS = 16
FILES_EVERY = 20
"""One lease in so many is on a file, so that there is something to delete."""
TTL_S = 300.0


@dataclass(slots=True)
class Load:
    """Acquires `rate_per_s` leases a second until it is stopped, or nobody answers."""

    endpoints: str
    files: Path
    rate_per_s: int
    acknowledged: dict[str, float] = field(default_factory=dict)
    """Lease id -> when it was acknowledged, in seconds of this process's monotonic clock."""
    in_use: list[Path] = field(default_factory=list)
    _number: int = 0

    async def run(self) -> None:
        """Until it is cancelled."""
        async with garbagetruck.connect(self.endpoints) as truck, asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(self._work(truck))

    async def _work(self, truck: Truck) -> None:
        pace_s = WORKERS / self.rate_per_s
        due_s = time.monotonic()
        while True:
            due_s = max(due_s + pace_s, time.monotonic() - pace_s)
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            self._number += 1
            await self._acquire(truck, self._number)

    async def _acquire(self, truck: Truck, number: int) -> None:
        name = f"upload-{number}"
        cleanup = None
        if number % FILES_EVERY == 0:
            path = self.files / name
            path.write_text("in use")
            cleanup = garbagetruck.Cleanup("file", path=name)
        try:
            lease = await truck.acquire(name, holder="service", ttl=TTL_S, cleanup=cleanup)
        except GarbageTruckError:
            return  # refused, or unknown: nobody was promised anything
        self.acknowledged[lease.id] = time.monotonic()
        if cleanup is not None:
            self.in_use.append(self.files / name)
