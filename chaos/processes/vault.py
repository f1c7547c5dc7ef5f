"""A store that compares fencing tokens itself: a folder of objects, each under the token of the lease that it was made under.

Duty: put, and delete what bears a lower token, each in one step for every process on the machine; a log of all deletions that
were asked for; and gates at which a cleanup's handler waits, so that something can be done to its node just then.
Invariants: what is asked of the store is decided under one lock; the log has a line for every decision, in their order.
Must not know: the cluster.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

GATE_S_MAX = 120.0
"""After so long a gate opens by itself, so that no process waits for ever."""
LOOK_S = 0.01


class Point(StrEnum):
    """Where in a cleanup a gate may stand."""

    CLAIMED = "claimed"
    """The claim is committed, nothing is deleted."""
    DELETED = "deleted"
    """It was deleted, nothing is reported."""


class Decision(StrEnum):
    """What became of a deletion."""

    DELETED = "deleted"
    FENCED = "fenced"
    """What is there bears the same token, or a higher one."""
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Deletion:
    """One that was asked for."""

    key: str
    pid: int
    token: int
    decision: Decision


class Vault:
    """One folder. Every method blocks for system calls, and `pass_gate` for as long as its gate is shut."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def make(self) -> None:
        self._folder.mkdir(exist_ok=True)

    # -- the store ----------------------------------------------------------------------------------------------

    def put(self, key: str, token: int) -> bool:
        """Make an object, or replace one that bears a lower token."""
        with self._locked():
            if (self._token(key) or 0) >= token:
                return False
            self._object(key).write_text(str(token), encoding="utf-8")
            return True

    def delete(self, key: str, token: int) -> Decision:
        """Delete an object that bears a lower token."""
        with self._locked():
            found = self._token(key)
            if found is None:
                decision = Decision.ABSENT
            elif found >= token:
                decision = Decision.FENCED
            else:
                self._object(key).unlink()
                decision = Decision.DELETED
            with (self._folder / "log").open("a", encoding="utf-8") as log:
                log.write(json.dumps(asdict(Deletion(key, os.getpid(), token, decision))) + "\n")
            return decision

    def token_of(self, key: str) -> int | None:
        """What the object bears; None when there is none."""
        with self._locked():
            return self._token(key)

    def deletions(self, key: str) -> list[Deletion]:
        """All that were asked for of one key, in order."""
        with self._locked():
            path = self._folder / "log"
            lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        told = [json.loads(line) for line in lines]
        return [Deletion(**{**each, "decision": Decision(each["decision"])}) for each in told if each["key"] == key]

    # -- gates --------------------------------------------------------------------------------------------------

    def shut(self, point: Point, key: str) -> None:
        """Let the next handler that comes to this point wait."""
        self._gate(point, key).touch()

    def open(self, point: Point, key: str) -> None:
        self._gate(point, key).unlink(missing_ok=True)

    def waiting(self, point: Point, key: str) -> int | None:
        """The process that waits at a gate."""
        try:
            return int(self._waits(point, key).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None

    def pass_gate(self, point: Point, key: str) -> None:
        """Wait while the gate is shut."""
        if not self._gate(point, key).exists():
            return
        self._waits(point, key).write_text(str(os.getpid()), encoding="utf-8")
        until_s = time.monotonic() + GATE_S_MAX
        while self._gate(point, key).exists() and time.monotonic() < until_s:
            time.sleep(LOOK_S)

    def _gate(self, point: Point, key: str) -> Path:
        return self._folder / f"gate-{point}-{key}"

    def _waits(self, point: Point, key: str) -> Path:
        return self._folder / f"waits-{point}-{key}"

    def _object(self, key: str) -> Path:
        return self._folder / f"object-{key}"

    def _token(self, key: str) -> int | None:
        try:
            return int(self._object(key).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._folder / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
