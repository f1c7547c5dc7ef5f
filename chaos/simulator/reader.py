"""Somebody who looks at everybody's leases, all the time and at any node.

Duty: read leases that were acknowledged before, and tell the oracle when the cluster says that they are over, or that it
never heard of them: what a node says that has been left behind without knowing.
Must not know: which node leads.
"""

import asyncio

from garbagetruck.chaos.simulator.oracle import Oracle
from garbagetruck.chaos.simulator.rpc import Port
from garbagetruck.chaos.simulator.world import Process, World
from garbagetruck.cluster.machine.model import LeaseState

PAUSE_S = (0.02, 0.2)
RECENT = 8
"""How many of the latest leases it looks at."""


class Reader:
    """Reads for as long as the world lasts; several reads may be under way."""

    def __init__(self, world: World, port: Port, oracle: Oracle, process: Process) -> None:
        self._port = port
        self._oracle = oracle
        self._process = process
        self._random = world.random("reader")

    def start(self) -> None:
        self._process.loop.start(self._read_on())

    async def _read_on(self) -> None:
        while True:
            await asyncio.sleep(self._random.uniform(*PAUSE_S))
            recent = [each for each in list(self._oracle.leases)[-RECENT:] if self._oracle.protected(each)]
            if recent:
                self._process.loop.start(self._read(self._random.choice(recent)))

    async def _read(self, lease_id: str) -> None:
        name = self._random.choice(sorted(self._port.hosts))
        state = await self._port.read_lease(self._process, name, lease_id)
        if state not in ("", LeaseState.ACTIVE.value):
            self._oracle.told_ended(lease_id, f"read as {state} at {name}")
