"""What the services agree on: how a picture's things are called, where they lie, and what becomes of a picture.

A *thing* is a file or a row, and its name is also the name of its resource: `images/0007.png`, `thumbnails/0007.png`,
`rows/0007`. It must not know: processes, the cluster.
"""

from enum import StrEnum
from pathlib import Path

from garbagetruck import Cleanup

SESSION_TTL_S = 10.0
"""How long a service may be silent until the cluster gives it up for dead."""
GRACE_S = 2.0
"""How long a thing is left alone after its last lease."""

FILES = "store"
DATABASE = "index.sqlite"
JOURNALS = "journals"


class Fate(StrEnum):
    """What the customer does with a picture."""

    DRAFT = "draft"
    """Not sent yet: the upload service holds it to the end. No thumbnail."""
    OPEN = "open"
    """Open in the editor: the processing service holds it to the end."""
    PUBLISHED = "published"
    """Permanent: it is taken off the books, and nobody has to hold it any more."""
    DISCARDED = "discarded"
    """Thrown away: nobody holds it any more, so it is garbage."""


_FATES = (
    Fate.DRAFT,
    Fate.OPEN,
    Fate.PUBLISHED,
    Fate.OPEN,
    Fate.DISCARDED,
    Fate.OPEN,
    Fate.PUBLISHED,
    Fate.DISCARDED,
)


def fate_of(number: int) -> Fate:
    return _FATES[number % len(_FATES)]


def image(number: int) -> str:
    return f"images/{number:04d}.png"


def thumbnail(number: int) -> str:
    return f"thumbnails/{number:04d}.png"


def row(number: int) -> str:
    return f"rows/{number:04d}"


def cleanup_of(thing: str) -> Cleanup:
    """How the cluster shall get rid of it. The operator registered both handlers (`backstage.HANDLERS`)."""
    handler = "index" if thing.startswith("rows/") else "pictures"
    return Cleanup(handler, path=thing)


def path_of(folder: Path, thing: str) -> Path:
    """Where a file lies. `folder`: the demo's."""
    return folder / FILES / thing
