"""Where a secret could have got to that nodes were given: everything that they leave, and say, and are started with.

Duty: look for it. Invariants: what is found is told by its place, never by what stands there. Must not know: whose secret it is.
"""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

from garbagetruck.chaos.processes.cluster import Cluster
from garbagetruck.chaos.processes.copies import page

PAGES = ("/metrics", "/", "/readyz", "/livez")
BLOCK_BYTES = 1 << 20


async def places_of(cluster: Cluster, secret: str) -> list[str]:
    """Where it stands; nowhere, if all is well."""
    sought = secret.encode()
    assert sought, "nothing would be everywhere"
    found = await asyncio.to_thread(lambda: list(files_holding(cluster.folder, sought)))
    for node in cluster.nodes.values():
        status = await cluster.status(node.id) if node.running else None
        told = {"its status": str(status), **{path: await page(cluster, node.id, path) for path in PAGES}}
        told |= {f"its {name}": _of_process(node.pid, name) for name in ("cmdline", "environ") if node.alive}
        found += [f"{node.id}: {place}" for place, text in told.items() if secret in text]
    return found


def files_holding(folder: Path, sought: bytes) -> Iterator[str]:
    """Of all below a folder, by their names from there."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent) / name
            try:
                if path.is_file() and _holds(path, sought):
                    yield str(path.relative_to(folder))
            except FileNotFoundError:
                continue  # nodes make and remove files all the time


def _holds(path: Path, sought: bytes) -> bool:
    """Also across the blocks in which it is read."""
    before = b""
    with path.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            if sought in before + block:
                return True
            before = block[-len(sought) :]
    return False


def _of_process(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
