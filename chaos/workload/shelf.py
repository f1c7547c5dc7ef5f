"""The object store: a folder of files that leases protect and cleanups delete.

Duty: put objects there, each written once and never changed, and see what disappears.
Invariants: an object is on the shelf whole or not at all, under an identity that no other ever has. No client replaces one,
or removes one that was made in time, so that whatever disappears was taken by a cleanup. What is seen is the file system, not the cluster's word.
Must not know: leases, who may delete what.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from garbagetruck.chaos.history import NEVER_NS, Gone, History, Left, Written

LOOK_S = 0.05
TOKEN_ATTRIBUTE = "user.garbagetruck.fencing_token"  # noqa: S105  # a name, no secret
HIDDEN = "."


@dataclass(slots=True)
class _Object:
    id: str
    identity: tuple[int, int]
    """Inode and time of writing: an inode alone comes back for another file."""
    present_ns: int


class Shelf:
    """`folder` is the handler's root; `drafts` lies on the same disk. Blocks for single system calls only."""

    def __init__(self, folder: Path, drafts: Path, history: History, now_ns: Callable[[], int]) -> None:
        self._folder = folder
        self._drafts = drafts
        self._history = history
        self._now_ns = now_ns
        self._objects: dict[str, _Object] = {}
        self._serial = 0

    @property
    def keys(self) -> tuple[str, ...]:
        """Of what was there at the last look."""
        return tuple(self._objects)

    def put(self, key: str, *, client: str, lease_id: str, token: int, until_ns: int) -> str:
        """Make the object of a key unless it is there already; answers the id of the one that was made, or nothing.

        What turns out to be made after `until_ns` is taken back before anybody else can have seen it.
        """
        self._serial += 1
        object_id = f"{key}#{self._serial}"
        draft = self._drafts / str(self._serial)
        draft.write_text(f"{object_id} under lease {lease_id}\n", encoding="utf-8")
        with contextlib.suppress(OSError):  # a file system without attributes: the cleanup's own look must do
            os.setxattr(draft, TOKEN_ATTRIBUTE, str(token).encode())
        status = draft.stat()
        before_ns = self._now_ns()
        try:
            (self._folder / key).hardlink_to(draft)
        except FileExistsError:
            return ""
        finally:
            draft.unlink()
        if self._now_ns() >= until_ns:
            (self._folder / key).unlink(missing_ok=True)
            return ""
        if key in self._objects:
            self.look()  # the one that was there before is gone, and nobody has seen it
        self._objects[key] = _Object(object_id, (status.st_ino, status.st_mtime_ns), before_ns)
        self._history.add(Written(client=client, key=key, object_id=object_id, lease_id=lease_id, at_ns=self._now_ns()))
        return object_id

    def put_foreign(self, key: str) -> None:
        """An object that no lease will ever name."""
        self._history.foreign.add(key)
        self.put(key, client="", lease_id="", token=0, until_ns=NEVER_NS)

    def look(self) -> None:
        """See what has disappeared since the last look."""
        began_ns = self._now_ns()
        there: dict[str, tuple[int, int]] = {}
        for entry in os.scandir(self._folder):
            if not entry.name.startswith(HIDDEN):
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    there[entry.name] = (status.st_ino, status.st_mtime_ns)
        ended_ns = self._now_ns()
        for key, known in list(self._objects.items()):
            if there.get(key) == known.identity:
                known.present_ns = began_ns
                continue
            del self._objects[key]
            self._history.add(Gone(key=key, object_id=known.id, present_ns=known.present_ns, absent_ns=ended_ns))

    def close(self) -> None:
        """Put down what is left at the very end."""
        self.look()
        for key, known in self._objects.items():
            self._history.add(Left(key=key, object_id=known.id, at_ns=self._now_ns()))

    async def watch(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_S)
