"""The handlers that the operator registered, by the name that clients use.

Duty: make handlers from settings, built-in kinds and entry points alike; complete a client's cleanup with its canonical
target, for the door; start and stop all of them together.
Invariants: a name stands for one handler for the life of the process; a target that leaves here is canonical in form,
whoever wrote the handler.
Must not know: claims, slots, the machine beyond its records.
"""

import importlib.metadata
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from garbagetruck.cluster.cleanup.handler import Handler, InvalidParametersError
from garbagetruck.cluster.cleanup.handlers.file import file_handlers
from garbagetruck.cluster.cleanup.handlers.grpc import grpc_handlers
from garbagetruck.cluster.cleanup.handlers.http import http_handlers
from garbagetruck.cluster.cleanup.handlers.s3 import s3_handlers
from garbagetruck.cluster.cleanup.handlers.sql import sql_handlers
from garbagetruck.cluster.cleanup.own_loop import MakeThread, on_own_loop
from garbagetruck.cluster.cleanup.running import RunBlocking
from garbagetruck.cluster.cleanup.settings import HandlerSettings, HandlerSettingsError
from garbagetruck.cluster.machine.model import CleanupSpec
from garbagetruck.cluster.machine.validation import TARGET_BYTES_MAX, TARGET_SEGMENTS_MAX

ENTRY_POINT_GROUP = "garbagetruck.handlers"

HandlerFactory = Callable[[Mapping[str, object], str], Handler]
"""Makes a handler from the operator's options and the name it is registered under.

Called in every node's process, and by `config check`, so it performs no I/O. Raises `ValueError` for bad options; its
text is shown to the operator.
"""

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,31}")
_log = structlog.get_logger(__name__)


class UnknownHandlerError(LookupError):
    """No handler of this name is registered on this node. A refusal."""

    def __init__(self, handler: str, known: Sequence[str]) -> None:
        super().__init__(f"no handler {handler!r} is registered; registered are {', '.join(known) or 'none'}")
        self.handler = handler
        self.known = tuple(known)


class HandlerFaultError(Exception):
    """A handler broke its contract: a bug of the handler's, to be told to the operator."""

    def __init__(self, handler: str, problem: str) -> None:
        super().__init__(f"handler {handler!r} broke its contract: {problem}")
        self.handler = handler


@dataclass(frozen=True, slots=True)
class Registered:
    """A handler and what the operator set for it."""

    settings: HandlerSettings
    handler: Handler


class HandlerRegistry:
    """All handlers of a process. Made without touching anything; `start` opens them, `stop` closes them."""

    def __init__(self, handlers: Sequence[Registered]) -> None:
        self._handlers = {each.settings.name: each for each in handlers}
        assert len(self._handlers) == len(handlers), "settings come from tables, whose keys are unique"
        self._started: list[Registered] = []

    @property
    def names(self) -> tuple[str, ...]:
        """The names that clients may use, in the order of the configuration."""
        return tuple(self._handlers)

    def find(self, name: str) -> Registered | None:
        """The handler of this name, if there is one."""
        return self._handlers.get(name)

    def check(self) -> list[tuple[str, str]]:
        """What is wrong with the world around each handler, by its name, for `config check`. Changes nothing."""
        return [(name, problem) for name, each in self._handlers.items() for problem in _check(each.handler)]

    def canonical_target(self, name: str, parameters: Mapping[str, str]) -> str:
        """What this cleanup would touch. The registry has been started.

        Raises `UnknownHandlerError`, `InvalidParametersError`, `HandlerFaultError`.
        """
        registered = self._handlers.get(name)
        if registered is None:
            raise UnknownHandlerError(name, self.names)
        try:
            target = registered.handler.canonical_target(parameters)
        except InvalidParametersError:
            raise
        except Exception as error:  # anybody's code: its failure must not look like the door's
            raise HandlerFaultError(name, f"canonical_target raised {error!r}") from error
        _check_form(name, registered.handler, target)
        return target

    def complete(self, name: str, parameters: Mapping[str, str]) -> CleanupSpec:
        """The cleanup as the machine keeps it. Raises as `canonical_target` does."""
        target = self.canonical_target(name, parameters)
        return CleanupSpec(name, tuple(sorted(parameters.items())), target)

    async def start(self) -> None:
        """Start all handlers in order; when one fails, stop those that run, and raise what it raised."""
        try:
            for registered in self._handlers.values():
                await registered.handler.start()
                self._started.append(registered)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop all that were started, the last first. One that fails to stop does not keep the others from it."""
        while self._started:
            registered = self._started.pop()
            try:
                await registered.handler.stop()
            except Exception:  # noqa: BLE001 - anybody's code, and the others must be stopped, too
                _log.exception("handler_stop_failed", handler=registered.settings.name)


def build_registry(
    settings: Sequence[HandlerSettings],
    *,
    run_blocking: RunBlocking,
    environ: Mapping[str, str],
    find_factory: Callable[[str], HandlerFactory | None] | None = None,
    make_thread: MakeThread | None = None,
) -> HandlerRegistry:
    """Make all handlers. Raises `HandlerSettingsError` for the first that cannot be made.

    `find_factory` looks up kinds that are not built in: by default, among the installed entry points. With `make_thread`,
    each of those runs on a thread and loop of its own; without, on the loop that it is used from.
    """
    registry, faults = build_what_can_be(
        settings, run_blocking=run_blocking, environ=environ, find_factory=find_factory, make_thread=make_thread
    )
    if faults:
        raise faults[0]
    return registry


def build_what_can_be(
    settings: Sequence[HandlerSettings],
    *,
    run_blocking: RunBlocking,
    environ: Mapping[str, str],
    find_factory: Callable[[str], HandlerFactory | None] | None = None,
    make_thread: MakeThread | None = None,
) -> tuple[HandlerRegistry, Sequence[HandlerSettingsError]]:
    """Make all handlers that can be made, and tell what is wrong with each of the others."""
    built_in: dict[str, HandlerFactory] = {
        "file": file_handlers(run_blocking),
        "grpc": grpc_handlers(run_blocking, environ),
        "http": http_handlers(run_blocking, environ),
        "s3": s3_handlers(),
        "sql": sql_handlers(run_blocking),
    }
    look_up = find_factory or installed_factory
    made: list[Registered] = []
    faults: list[HandlerSettingsError] = []
    for each in settings:
        try:
            handler = _make(each, built_in, look_up)
            if make_thread is not None and each.kind not in built_in:
                handler = on_own_loop(handler, each.name, make_thread)
            made.append(Registered(each, handler))
        except HandlerSettingsError as error:
            faults.append(error)
    return HandlerRegistry(made), faults


def installed_factory(kind: str) -> HandlerFactory | None:
    """The factory that an installed distribution offers under this name, if one does. Imports it."""
    found = tuple(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP, name=kind))
    if not found:
        return None
    if len({each.value for each in found}) > 1:
        offered = ", ".join(sorted(each.value for each in found))
        message = f"several installed distributions offer the handler kind {kind!r}: {offered}; uninstall all but one"
        raise ValueError(message)
    factory: HandlerFactory = found[0].load()
    return factory


def _make(
    settings: HandlerSettings,
    built_in: Mapping[str, HandlerFactory],
    look_up: Callable[[str], HandlerFactory | None],
) -> Handler:
    handler: object = None
    try:
        factory = built_in.get(settings.kind) or look_up(settings.kind)
        if factory is not None:
            handler = factory(settings.options, settings.name)
    except HandlerSettingsError:
        raise
    except Exception as error:  # anybody's code, and its import
        remedy = "correct its options, or the distribution it comes from"
        raise HandlerSettingsError(settings.name, "", f"it could not be made: {error}", remedy) from error
    if factory is None:
        remedy = f"use one of {', '.join(built_in)}, or install a distribution that offers it"
        raise HandlerSettingsError(settings.name, "kind", f"{settings.kind!r} is not known", remedy)
    if not isinstance(handler, Handler) or not _SCHEME.fullmatch(getattr(handler, "scheme", "")):
        problem = f"its factory made {type(handler).__name__}, which is no Handler with a valid scheme"
        raise HandlerSettingsError(settings.name, "kind", problem, "correct the distribution it comes from")
    return handler


def _check(handler: Handler) -> Sequence[str]:
    try:
        return handler.check()
    except Exception as error:  # noqa: BLE001 - anybody's code, and the others are to be checked, too
        return [f"its own check raised {error!r}"]


def _check_form(name: str, handler: Handler, target: str) -> None:
    scheme, separator, path = target.partition(":/")
    if scheme != handler.scheme or not separator:
        raise HandlerFaultError(name, f"its target {target!r} does not begin with {handler.scheme}:/")
    if any(segment in ("", ".", "..") for segment in path.split("/")):
        raise HandlerFaultError(name, f"its target {target!r} has an empty segment, `.` or `..`")
    if len(target.encode("utf-8", "surrogatepass")) > TARGET_BYTES_MAX or target.count("/") > TARGET_SEGMENTS_MAX:
        remedy = f"name something shorter: {TARGET_BYTES_MAX} bytes and {TARGET_SEGMENTS_MAX} segments at most"
        raise InvalidParametersError("", "name a target that is too long", remedy)
