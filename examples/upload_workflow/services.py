"""What the services have in common: their arguments, their journal, and how they find each other.

A service writes its address to a file, and whoever needs it reads that file anew at each call: so a service that was
started again on another port is found.
"""

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from examples.upload_workflow.journal import Journal
from examples.upload_workflow.pictures import JOURNALS


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a service is told when it is started."""

    name: str
    """For example `processing-1`: the holder of its leases, and the name of its journal."""
    folder: Path
    """The demo's."""
    endpoints: str
    """The cluster's nodes."""
    images: int
    """How many pictures will be uploaded."""


def run(service: Callable[[Surroundings, Journal], Coroutine[None, None, None]]) -> None:
    """Run a service until it is killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--endpoints", default="")
    parser.add_argument("--images", type=int, default=0)
    told = parser.parse_args()
    surroundings = Surroundings(told.name, told.folder, told.endpoints, told.images)
    with Journal(told.folder / JOURNALS / f"{told.name}.jsonl") as journal:
        try:
            asyncio.run(service(surroundings, journal))
        except KeyboardInterrupt:
            sys.exit(130)


async def serve(application: web.Application, folder: Path, role: str) -> web.AppRunner:
    """Serve HTTP on a free port, and tell under which address. The caller cleans the runner up."""
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    unfinished = folder / f".{role}.address"
    unfinished.write_text(f"http://{host}:{port}", encoding="utf-8")
    unfinished.replace(folder / f"{role}.address")
    return runner


def address_of(folder: Path, role: str) -> str:
    """Where a service was last said to be. Raises `FileNotFoundError` when it never was."""
    return (folder / f"{role}.address").read_text(encoding="utf-8")
