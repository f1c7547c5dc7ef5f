"""What each process writes down of what it did, so that the demo can be judged without asking the cluster.

Duty: one line of JSON for each deed, in one file for each process, written in one system call: a process that is
killed with SIGKILL loses nothing that it wrote before.
Moments are seconds of the monotonic clock, which all processes of a machine share.
"""

import asyncio
import json
import os
import time
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from garbagetruck.client import Session

HEARTBEAT_CHECK_S = 0.05


class Did(StrEnum):
    """What a process did."""

    LEASED = "leased"
    """The cluster acknowledged a lease on the thing."""
    CREATED = "created"
    GIVING_BACK = "giving_back"
    """About to release the lease; from now on nothing is promised."""
    GAVE_BACK = "gave_back"
    KEEPING = "keeping"
    """About to release the lease with `keep_resource`."""
    KEPT = "kept"
    """The thing became permanent."""
    ALIVE = "alive"
    """By acknowledged renewals, every lease of this process holds until `until_s`."""
    FINISHED = "finished"
    """There is no more work (with the thing). What is still held is held to the end."""
    WATCHING = "watching"
    """The watcher: from now on nothing goes unseen."""
    GONE = "gone"
    """The watcher: the thing was last seen at `until_s`, and at `at_s` it was not there any more."""
    KILLED = "killed"
    """The play: a service was killed with SIGKILL, its name is `thing`."""
    LEADER_KILLED = "leader_killed"
    """The play: the leader was killed and is dead; its node's name is `thing`."""
    ACQUIRED_AGAIN = "acquired_again"
    """The play: the first lease asked for after the leader's end was acknowledged."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One deed."""

    at_s: float
    did: Did
    thing: str = ""
    until_s: float = 0.0


class Journal:
    """The journal of one process. `with` opens and closes it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1

    def __enter__(self) -> Self:
        self._path.parent.mkdir(exist_ok=True)
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._file)

    def note(self, did: Did, thing: str = "", *, at_s: float | None = None, until_s: float = 0.0) -> None:
        """Write a deed down. `at_s`: when it was done, by default now."""
        entry = Entry(time.monotonic() if at_s is None else at_s, did, thing, until_s)
        os.write(self._file, json.dumps(asdict(entry)).encode() + b"\n")


def read(path: Path) -> list[Entry]:
    """Read a journal, which may be growing meanwhile. One that does not exist is empty."""
    if not path.exists():
        return []
    whole_lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [Entry(**{**fields, "did": Did(fields["did"])}) for fields in map(json.loads, whole_lines)]


def note_life(journal: Journal, session: Session) -> None:
    """Write down until when the session holds, by what was acknowledged so far."""
    journal.note(Did.ALIVE, until_s=time.monotonic() + session.remaining)


async def keep_noting_life(journal: Journal, session: Session) -> None:
    """Write down each heartbeat that was acknowledged, at most `HEARTBEAT_CHECK_S` later; raise when one is lost.

    What is not written down before a SIGKILL lets the leases seem to end earlier than they did, and what the cluster
    did afterwards later than it was. The error is against the cluster.
    """
    noted_s = 0.0
    while not session.lost.is_set():
        until_s = time.monotonic() + session.remaining
        if until_s > noted_s + 0.01:
            note_life(journal, session)
            noted_s = until_s
        await asyncio.sleep(HEARTBEAT_CHECK_S)
    raise RuntimeError(f"{session.holder} lost its session: {session.lost.reason}")
