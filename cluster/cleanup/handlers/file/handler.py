"""The `file` handler: what it takes from the operator, and how it meets the event loop.

Duty: read the settings, resolve and check the roots once, and run one attempt's blocking work where it may block.
Invariants: the roots of all handlers of a process are the same folders or apart: one within another would give a file
two locks. A lock that somebody else holds is waited for on the event loop, never in a thread.
Must not know: how a thing is removed (removal.py).
"""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import msgspec
from typing_extensions import override

from garbagetruck.cluster.cleanup.handler import CleanupCall, CleanupResult, Handler, ObservationError
from garbagetruck.cluster.cleanup.handlers.file.fence import Fence, FenceBusyError
from garbagetruck.cluster.cleanup.handlers.file.places import SCHEME, Root, locate
from garbagetruck.cluster.cleanup.handlers.file.removal import Removal, observe
from garbagetruck.cluster.cleanup.handlers.file.walk import (
    ForbiddenError,
    RootChangedError,
    RootIdentity,
    identify_root,
)
from garbagetruck.cluster.cleanup.running import GatheredCalls, RunBlocking
from garbagetruck.cluster.cleanup.settings import HandlerSettingsError, read_options

ROOTS_MAX = 64
LOCK_RETRY_S_MIN = 0.01
LOCK_RETRY_S_MAX = 0.25


class FileOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The options of a `file` handler."""

    roots: list[str] | dict[str, str]
    """Absolute folders, by name, or as a list, which names each by its last part. A relative path without a root's
    name is meant from the first one."""
    directories: bool = False
    """Whether a target may be a directory, which is removed with all that is in it."""


class RootBook:
    """Which handler of this process has which roots, so that none lies within another's."""

    def __init__(self) -> None:
        self._paths: dict[str, tuple[str, ...]] = {}

    def enter(self, handler: str, paths: Sequence[str]) -> None:
        """Enter all roots of a handler, in place of those it had. Raises `HandlerSettingsError`."""
        present = [(owner, path) for owner, owned in self._paths.items() if owner != handler for path in owned]
        present += [(handler, path) for path in paths]
        for owner, path in present:
            for other_owner, other in present:
                if path.startswith(f"{other}/"):
                    raise HandlerSettingsError(
                        handler,
                        "roots",
                        f"{path} (handlers.{owner}) lies within {other} (handlers.{other_owner})",
                        "name the outer one only: a file must not be below two roots",
                    )
        self._paths[handler] = tuple(paths)


class FileHandler(Handler):
    """Removes files, and directories where allowed, below the operator's roots."""

    scheme: ClassVar[str] = SCHEME

    def __init__(
        self, name: str, roots: Sequence[Root], book: RootBook, *, directories: bool, run_blocking: RunBlocking
    ) -> None:
        self._name = name
        self._book = book
        self._configured = tuple(roots)
        self._roots = tuple(roots)
        self._identities: dict[str, RootIdentity] = {}
        self._fences: dict[tuple[str, str], Fence] = {}
        self._directories = directories
        # Emptying a directory may take minutes; what else is done here takes microseconds.
        self._run_blocking = run_blocking if directories else GatheredCalls(run_blocking)

    @override
    def check(self) -> Sequence[str]:
        return [problem for root in self._configured if (problem := _problem_with(root.configured)) is not None]

    @override
    def canonical_target(self, parameters: Mapping[str, str]) -> str:
        return locate(parameters, self._roots).target

    @override
    async def start(self) -> None:
        await self._run_blocking(self._resolve)

    @override
    async def stop(self) -> None:
        await self._run_blocking(self._close)

    @override
    async def observe(self, parameters: Mapping[str, str]) -> str:
        place = locate(parameters, self._roots)
        identity = self._identities[place.root.real]
        try:
            return await self._run_blocking(lambda: observe(place, identity, directories=self._directories))
        except ForbiddenError as error:
            raise ObservationError(str(error), retryable=False) from error
        except (RootChangedError, OSError) as error:
            raise ObservationError(f"{place.target}: {error}") from error

    @override
    async def clean(self, call: CleanupCall) -> CleanupResult:
        place = locate(call.parameters, self._roots)
        fence = self._fence(place.root, call.cluster_id)
        removal = Removal(place, self._identities[place.root.real], fence, call, directories=self._directories)
        wait_s = LOCK_RETRY_S_MIN
        while True:
            try:
                return await self._run_blocking(removal.remove)
            except FenceBusyError as error:
                if call.remaining_s() <= wait_s or not call.may_proceed():
                    return CleanupResult.failed(str(error))
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, LOCK_RETRY_S_MAX)

    def _fence(self, root: Root, cluster_id: str) -> Fence:
        key = (root.real, cluster_id)
        if key not in self._fences:
            self._fences[key] = Fence(root.real, cluster_id)
        return self._fences[key]

    def _resolve(self) -> None:
        for root in self._configured:
            problem = _problem_with(root.configured)
            if problem is not None:
                raise OSError(problem)
        roots = tuple(Root(root.name, root.configured, os.path.realpath(root.configured)) for root in self._configured)
        self._book.enter(self._name, sorted({root.real for root in roots}))
        self._roots = roots
        self._identities = {root.real: identify_root(root.real) for root in self._roots}

    def _close(self) -> None:
        for fence in self._fences.values():
            fence.close()


def file_handlers(run_blocking: RunBlocking) -> Callable[[Mapping[str, object], str], FileHandler]:
    """The factory of all `file` handlers of a process. It raises `HandlerSettingsError`."""
    configured, real = RootBook(), RootBook()

    def make(options: Mapping[str, object], name: str) -> FileHandler:
        read = read_options(name, options, FileOptions)
        roots = _read_roots(name, read.roots)
        configured.enter(name, [root.configured for root in roots])
        return FileHandler(name, roots, real, directories=read.directories, run_blocking=run_blocking)

    return make


def _problem_with(root: str) -> str | None:
    if not Path(root).is_dir():
        return f"the root {root} is not a folder; create it, or mount what belongs there"
    if not os.access(root, os.W_OK | os.X_OK):
        return f"the root {root} cannot be written by this user; nothing could be removed from it"
    return None


def _read_roots(handler: str, given: list[str] | dict[str, str]) -> tuple[Root, ...]:
    pairs = list(given.items()) if isinstance(given, dict) else [(Path(path).name, path) for path in given]
    if not 1 <= len(pairs) <= ROOTS_MAX:
        raise HandlerSettingsError(handler, "roots", f"has {len(pairs)} entries", f"name 1 to {ROOTS_MAX} folders")
    roots: list[Root] = []
    for name, path in pairs:
        normal = os.path.normpath(path)
        if not normal.startswith("/") or "\0" in path or ".." in path.split("/") or normal.strip("/") == "":
            raise HandlerSettingsError(
                handler, "roots", f"{path!r} is not an absolute folder below /", "write its path in full, without `..`"
            )
        if any(root.name == name for root in roots):
            remedy = 'name them: roots = { one = "/srv/one", two = "/mnt/one" }'
            raise HandlerSettingsError(handler, "roots", f"two roots are called {name!r}", remedy)
        normal = "/" + normal.lstrip("/")
        roots.append(Root(name, normal, normal))
    return tuple(roots)
