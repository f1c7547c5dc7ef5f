"""A service that writes files and deletes none: what it gives back is cleaned up by the cluster.

Usage, with a cluster whose `file` handler owns FOLDER, as `up` sets it up:

    garbagetruck up --data-dir data
    python examples/python/upload.py 127.0.0.1:7101,127.0.0.1:7102,127.0.0.1:7103 data/files

It takes a lease *before* it writes each file, so that a crash in between orphans nothing. The first file becomes
permanent; the second is given back, and the cluster deletes it a few seconds later.
"""

import asyncio
import sys
from pathlib import Path

import garbagetruck
from garbagetruck.client import Truck
from garbagetruck.client.errors import GarbageTruckError


async def wait_until_cleaned(truck: Truck, resource: str) -> None:
    async for _ in truck.watch(resource=resource, types=("cleanup_done",)):
        return


async def main(endpoints: str, folder: Path) -> None:
    async with (
        garbagetruck.connect(endpoints) as truck,
        truck.session(holder="uploader", ttl=10.0) as session,
        asyncio.TaskGroup() as tasks,
    ):
        cleanup = garbagetruck.Cleanup("file", path="permanent.txt")
        async with session.lease("uploads/permanent", cleanup=cleanup, keep_resource=True) as lease:
            (folder / "permanent.txt").write_text(f"made under token {lease.fencing_token}\n")
        print("uploads/permanent is off the books: it stays")

        cleaned = tasks.create_task(wait_until_cleaned(truck, "uploads/temporary"))
        cleanup = garbagetruck.Cleanup("file", path="temporary.txt")
        async with session.lease("uploads/temporary", cleanup=cleanup) as lease:
            (folder / "temporary.txt").write_text(f"made under token {lease.fencing_token}\n")
            print(f"uploads/temporary is mine, for {lease.remaining:.1f} s at least")
        print(f"uploads/temporary is {(await truck.resources.get('uploads/temporary')).state}")

        await cleaned
        print(f"uploads/temporary is cleaned; its file exists: {(folder / 'temporary.txt').exists()}")


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
    except GarbageTruckError as error:
        sys.exit(f"{type(error).__name__}: {error.message}")
