"""A service that takes leases one after the other, as fast as it is let, and holds the last of them for long.

Duty: that there is always something in flight, and much to lose.
Invariants: it holds `HELD_MAX` leases at most, so that a long run holds no more than a short one.
Must not know: objects; its resources have no cleanup.
"""

import asyncio
import random
from collections import deque

from garbagetruck.chaos.history import Outcome
from garbagetruck.chaos.workload.caller import Around, Caller
from garbagetruck.chaos.workload.clients import LONG_TTL_MS

HELD_MAX = 200
PAUSE_S = 0.01
AGAIN_S = 0.05
TRIES_MAX = 40


class Hoarder:
    """One holder; `run` once, until `stop`."""

    def __init__(self, name: str, seed: int, around: Around) -> None:
        self.name = name
        self._call = Caller(name, around, random.Random(f"{seed}/{name}"))
        self._held: deque[str] = deque()
        self._stopping = False

    def stop(self) -> None:
        self._stopping = True

    async def run(self) -> None:
        while not self._stopping:
            request_id = self._call.fresh_request_id()
            for _ in range(TRIES_MAX):
                attempt = await self._call.acquire(f"hoard/{request_id}", request_id, ttl_ms=LONG_TTL_MS)
                if attempt.ok:
                    self._held.append(attempt.lease_id)
                if attempt.ok or attempt.outcome is Outcome.REFUSED or self._stopping:
                    break
                await asyncio.sleep(AGAIN_S)
            while len(self._held) > HELD_MAX:
                await self._call.release(self._held.popleft())
            await asyncio.sleep(PAUSE_S)

    async def let_go(self) -> None:
        """What it holds ends with the cluster."""
