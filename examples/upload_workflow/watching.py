"""The watcher: a process of its own that looks at disk and database, and writes down what goes.

It asks nobody anything, so that what it writes is evidence. It must not know: the cluster.
"""

import asyncio
import time

from examples.upload_workflow.journal import Did, Journal
from examples.upload_workflow.services import Surroundings, run
from examples.upload_workflow.shelves import look

LOOK_EVERY_S = 0.025


async def watch(around: Surroundings, journal: Journal) -> None:
    """Write down each thing that goes, and between which two looks it went; for ever."""
    there: set[str] = set()
    looked_s = time.monotonic()
    journal.note(Did.WATCHING)
    while True:
        # What is missing in this look went after the last one began, and before this one ended.
        began_s = time.monotonic()
        present = look(around.folder)
        ended_s = time.monotonic()
        for thing in sorted(there - present):
            journal.note(Did.GONE, thing, at_s=ended_s, until_s=looked_s)
        there, looked_s = present, began_s
        await asyncio.sleep(LOOK_EVERY_S)


if __name__ == "__main__":
    run(watch)
