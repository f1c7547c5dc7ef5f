"""Where the members are, as this node last knew it: a file that outlives what the configuration says.

Duty: keep `members.json` in the data folder. A node that starts again after its cluster has changed finds the others by
it, whatever its configuration still names.
Invariants: the file is whole or absent at every moment: it is written beside, synced, renamed, and the folder is synced.
It decides nothing: who votes is Raft's to say, who belongs to the cluster the machine's. What was damaged is refused.
Must not know: why members change.

Blocking calls of a few milliseconds: off the loop once the node serves.
"""

import json
import os
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from garbagetruck.cluster.node.identity import IdentityError
from garbagetruck.cluster.raft.errors import DiskFailed

BOOK_FORMAT = 1
BOOK_BYTES_MAX = 1024 * 1024
BOOK = "members.json"


@dataclass(frozen=True, slots=True)
class Place:
    """A node and its four addresses, each as `host:port`; empty is one that is not known."""

    id: str
    api: str
    http: str
    raft: str
    peer: str

    def addresses(self) -> frozenset[str]:
        """All that are known; two names of one place are one."""
        every = (self.api, self.http, self.raft, self.peer)
        return frozenset(each.replace("localhost:", "127.0.0.1:") for each in every if each)


@dataclass(frozen=True, slots=True)
class Page:
    """What the book holds: the places of all members, as of one entry of the log."""

    index: int
    places: tuple[Place, ...]


def merged(*lists: Iterable[Place]) -> tuple[Place, ...]:
    """The places of all lists by rising id; of two that share an id or an address the earlier counts."""
    found: dict[str, Place] = {}
    taken: set[str] = set()
    for place in (each for places in lists for each in places):
        if place.id not in found and not taken & place.addresses():
            found[place.id] = place
            taken |= place.addresses()
    return tuple(found[node_id] for node_id in sorted(found))


class AddressBook:
    """The file `members.json` in a node's data folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / BOOK

    def load(self) -> Page | None:
        """What was stored last, or None. Raises `IdentityError` for what this version did not write."""
        try:
            with self._path.open("rb") as stream:
                content = json.loads(stream.read(BOOK_BYTES_MAX))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise self._damaged(str(error)) from error
        if not isinstance(content, dict) or content.get("format") != BOOK_FORMAT:
            raise self._damaged(f"it is not of format {BOOK_FORMAT}")
        index, rows = content.get("index"), content.get("members")
        if content.get("crc32") != _checksum(index, rows):
            raise self._damaged("its checksum is wrong")
        try:
            return msgspec.convert({"index": index, "places": rows}, Page)
        except msgspec.ValidationError as error:
            raise self._damaged(f"its fields are not those of members ({error})") from error

    def store(self, page: Page) -> None:
        """Put `page` in the place of what was stored. Raises `DiskFailed`."""
        rows = [asdict(place) for place in page.places]
        content = {
            "format": BOOK_FORMAT,
            "index": page.index,
            "members": rows,
            "crc32": _checksum(page.index, rows),
        }
        unfinished = self._path.with_name(f"{BOOK}.tmp")
        try:
            with unfinished.open("w", encoding="utf-8") as stream:
                stream.write(json.dumps(content, indent=1) + "\n")
                stream.flush()
                os.fsync(stream.fileno())
            unfinished.rename(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise DiskFailed(self._path, "writing", error) from error

    def _damaged(self, reason: str) -> IdentityError:
        return IdentityError(
            f"{self._path} is damaged: {reason}. It only tells where the other members are: remove it, see that"
            " cluster.members names them, and start the node again"
        )


def _checksum(index: object, rows: object) -> int:
    return zlib.crc32(json.dumps([index, rows], sort_keys=True).encode())
