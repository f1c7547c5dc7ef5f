"""What is really there: files on disk and rows in the database, whatever anybody says.

It must not know: the journals, the cluster.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from examples.upload_workflow.pictures import DATABASE, FILES

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


def _rows(path: Path) -> Iterator[str]:
    if not path.exists():
        return
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
        for (name,) in database.execute("SELECT name FROM rows"):
            yield name
