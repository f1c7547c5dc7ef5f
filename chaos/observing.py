"""Somebody who asks every node how it is, all the time, and looks at what its process takes.

Duty: sights and burdens for the history.
Must not know: faults, leases.
"""

import asyncio
import itertools
from collections.abc import Callable

from garbagetruck.chaos.history import Burden, History, Sight
from garbagetruck.chaos.processes import proc
from garbagetruck.chaos.processes.cluster import Cluster, Node
from garbagetruck.v1 import cluster_pb2

LOOK_S = 0.5
BURDEN_EVERY = 2
"""Looks from one burden to the next."""
ROLES = {
    cluster_pb2.NODE_ROLE_LEADER: "leader",
    cluster_pb2.NODE_ROLE_FOLLOWER: "follower",
    cluster_pb2.NODE_ROLE_CANDIDATE: "candidate",
}


async def observe(cluster: Cluster, history: History, now_ns: Callable[[], int]) -> None:
    """Until cancelled."""
    looks = 0
    while True:
        nodes = list(cluster.nodes.values())
        seen = await asyncio.gather(*(_see(cluster, node, history, now_ns) for node in nodes))
        if looks % BURDEN_EVERY == 0:
            # One that reads its disk, as long as that takes, is not yet what it will be.
            for node in itertools.compress(nodes, seen):
                _weigh(node, history, now_ns)
        looks += 1
        await asyncio.sleep(LOOK_S)


async def _see(cluster: Cluster, node: Node, history: History, now_ns: Callable[[], int]) -> bool:
    """What a node says of itself; of others it knows by hearsay. Answers whether it says anything."""
    asked_ns = now_ns()
    status = await cluster.status(node.id) if node.running else None
    if status is None:
        return False
    for each in status.nodes:
        if each.id == node.id and each.role in ROLES:
            history.add(
                Sight(
                    node=node.id,
                    asked_ns=asked_ns,
                    at_ns=now_ns(),
                    term=each.term,
                    role=ROLES[each.role],
                    applied_index=each.applied_index,
                    digest=each.digest.hex(),
                    clock_ms=status.clock_ms,
                )
            )
    return True


def _weigh(node: Node, history: History, now_ns: Callable[[], int]) -> None:
    if not node.alive:
        return
    pid = node.pid
    resident, descriptors, threads = proc.resident_bytes(pid), proc.descriptors(pid), proc.threads(pid)
    if resident and descriptors and threads:
        history.add(
            Burden(
                node=node.id,
                pid=pid,
                at_ns=now_ns(),
                resident_bytes=resident,
                descriptors=descriptors,
                threads=threads,
                journal_bytes=proc.folder_bytes(node.data_dir),
            )
        )
