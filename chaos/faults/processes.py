"""Faults of the nodes' processes.

Duty: kill, stop, drain, wipe. Invariant: what was killed is started again by `heal`, what was stopped goes on.
Must not know: wires.
"""

import asyncio
import os
import signal
from collections.abc import Sequence

from typing_extensions import override

from garbagetruck.chaos.faults.fault import Fault
from garbagetruck.chaos.processes import proc
from garbagetruck.chaos.processes.cluster import Cluster

REFUSED_TIMEOUT_S = 30.0
STATE_TIMEOUT_S = 5.0


class Kill(Fault):
    """`kill -9`, one after the other with `stagger_s` between."""

    def __init__(self, nodes: Sequence[str], *, stagger_s: float = 0.0) -> None:
        self.name = f"kill -9 of {', '.join(nodes)}{f', {stagger_s:g} s apart' if stagger_s else ''}"
        self._nodes = tuple(nodes)
        self._stagger_s = stagger_s
        self._ends: dict[str, int] = {}

    @override
    async def inject(self, cluster: Cluster) -> None:
        if self._stagger_s:
            for node_id in self._nodes:
                await cluster.kill([node_id])
                await asyncio.sleep(self._stagger_s)
        else:
            await cluster.kill(self._nodes)
        self._ends = {node_id: await cluster.nodes[node_id].ended() for node_id in self._nodes}

    @override
    async def heal(self, cluster: Cluster) -> None:
        for node_id in self._nodes:
            await cluster.start(node_id)

    @property
    @override
    def proof(self) -> str:
        killed = [node_id for node_id, code in self._ends.items() if code == -signal.SIGKILL]
        return f"{', '.join(killed)} ended by SIGKILL" if len(killed) == len(self._nodes) else ""


class Stop(Fault):
    """SIGSTOP, and SIGCONT to heal: the process stands still, its connections stay."""

    def __init__(self, node_id: str) -> None:
        self.name = f"{node_id} is stopped"
        self._node_id = node_id
        self._seen = ""
        self._held = ""

    @override
    def unavailable(self, cluster: Cluster) -> str:
        return "" if proc.state_of(os.getpid()) else "there is no /proc to see it in"

    @override
    async def inject(self, cluster: Cluster) -> None:
        node = cluster.nodes[self._node_id]
        node.signal(signal.SIGSTOP)
        async with asyncio.timeout(STATE_TIMEOUT_S):
            while proc.state_of(node.pid) != proc.STOPPED:  # noqa: ASYNC110  # nobody tells us
                await asyncio.sleep(0.01)
        self._seen = proc.state_of(node.pid)

    @override
    async def heal(self, cluster: Cluster) -> None:
        node = cluster.nodes[self._node_id]
        self._held = proc.state_of(node.pid)
        node.signal(signal.SIGCONT)

    @property
    @override
    def proof(self) -> str:
        stood = self._seen == self._held == proc.STOPPED
        return f"{self._node_id} was in state {proc.STOPPED} at the beginning and at the end" if stood else ""


class Drain(Fault):
    """SIGTERM: the node hands over what it leads, and ends by itself; it is started again to heal."""

    def __init__(self, node_id: str) -> None:
        self.name = f"{node_id} is drained"
        self._node_id = node_id
        self._code: int | None = None
        self._said = False

    @override
    async def inject(self, cluster: Cluster) -> None:
        node = cluster.nodes[self._node_id]
        node.signal(signal.SIGTERM)
        self._code = await node.ended()
        self._said = bool(node.said("stopped"))

    @override
    async def heal(self, cluster: Cluster) -> None:
        await cluster.start(self._node_id)

    @property
    @override
    def proof(self) -> str:
        return f"{self._node_id} stopped by itself, with exit code 0" if self._code == 0 and self._said else ""


class Wipe(Fault):
    """`kill -9`, and the data folders are gone: started again as they were, the nodes must refuse. There is no cure: what was
    wiped stays down.
    """

    def __init__(self, nodes: Sequence[str]) -> None:
        self.name = f"{', '.join(nodes)} killed and wiped"
        self._nodes = tuple(nodes)
        self._others: tuple[str, ...] = ()
        self.codes: dict[str, int | None] = {}
        """How each ended when it was started again; None when it did not end."""

    @override
    async def inject(self, cluster: Cluster) -> None:
        self._others = tuple(node_id for node_id in cluster.ids if node_id not in self._nodes)
        await cluster.kill(self._nodes)
        for node_id in self._nodes:
            await cluster.nodes[node_id].wipe()
            await cluster.start(node_id)
        for node_id in self._nodes:
            try:
                self.codes[node_id] = await cluster.nodes[node_id].ended(REFUSED_TIMEOUT_S)
            except TimeoutError:
                self.codes[node_id] = None

    @override
    async def heal(self, cluster: Cluster) -> None:
        """Nothing brings the folders back."""

    @property
    @override
    def proof(self) -> str:
        ends = ", ".join(f"{node_id} ended with {code}" for node_id, code in self.codes.items())
        return f"the folders are gone; started again, {ends}" if self.codes else ""

    @property
    @override
    def cut_off(self) -> tuple[str, ...]:
        """What is left, when that is no majority."""
        return self._others if len(self._others) <= len(self._nodes) else ()
