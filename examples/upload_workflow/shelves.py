"""What is really there: files on disk and rows in the database, whatever anybody says.

Duty: look, and keep looking. It must not know: the cluster.
"""

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from examples.upload_workflow.journal import Did, Journal
from examples.upload_workflow.pictures import DATABASE, FILES

LOOK_EVERY_S = 0.025
TOMBSTONE = ".garbagetruck-"
"""What the file handler renames a file to before it unlinks it begins so."""
FENCE = ".garbagetruck-fence-"
"""Its own lock file, one for each root, begins so, and stays."""


def look(folder: Path) -> set[str]:
    """Every thing that is there now. Raises `sqlite3.Error`."""
    store = folder / FILES
    files = {f"{path.parent.name}/{path.name}" for path in store.glob("*/*") if not path.name.startswith(".")}
    return files | set(_rows(folder / DATABASE))


def leftovers(folder: Path) -> list[str]:
    """Files that were taken away by name, and not in truth."""
    found = (path.name for path in (folder / FILES).rglob(f"{TOMBSTONE}*"))
    return sorted(name for name in found if not name.startswith(FENCE))


async def watch(folder: Path, journal: Journal) -> None:
    """Write down what goes, and between which two looks it went; for ever."""
    there: set[str] = set()
    looked_s = time.monotonic()
    while True:
        # Taken after the look, and the last one's before it: what is missing now went between the two moments.
        before_s = time.monotonic()
        present = look(folder)
        after_s = time.monotonic()
        for thing in sorted(there - present):
            journal.note(Did.GONE, thing, at_s=after_s, until_s=looked_s)
        there, looked_s = present, before_s
        await asyncio.sleep(LOOK_EVERY_S)


def _rows(path: Path) -> Iterator[str]:
    if not path.exists():
        return
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
        for (name,) in database.execute("SELECT name FROM rows"):
            yield name
