"""The registered handlers between configuration, door and executor.

Duty: hand the operator's settings to the registry, find what is wrong with them, and be the door's way to them.
Must not know: what a handler does.
"""

from collections.abc import Mapping

import structlog
from typing_extensions import override

from garbagetruck.cluster.api.ports import CleanupDoor, InvalidParameters, UnknownHandler
from garbagetruck.cluster.cleanup.handler import InvalidParametersError
from garbagetruck.cluster.cleanup.own_loop import MakeThread
from garbagetruck.cluster.cleanup.registry import (
    HandlerFaultError,
    HandlerRegistry,
    UnknownHandlerError,
    build_registry,
    build_what_can_be,
)
from garbagetruck.cluster.cleanup.running import RunBlocking, run_directly
from garbagetruck.cluster.cleanup.settings import HandlerSettings, HandlerSettingsError
from garbagetruck.cluster.machine.model import CleanupSpec
from garbagetruck.cluster.node.config.problems import Problem
from garbagetruck.cluster.node.config.settings import NodeSettings
from garbagetruck.cluster.node.config.tables import HandlerSettings as Registered

_log = structlog.get_logger(__name__)


class RegistryDoor(CleanupDoor):
    """The door's face of the registry. Runs on the node's main loop."""

    def __init__(self, registry: HandlerRegistry) -> None:
        self._registry = registry

    @override
    def complete(self, handler: str, parameters: Mapping[str, str]) -> CleanupSpec:
        try:
            return self._registry.complete(handler, parameters)
        except UnknownHandlerError as error:
            raise UnknownHandler(error.handler, error.known) from error
        except InvalidParametersError as error:
            raise InvalidParameters(error.parameter, error.problem, error.remedy) from error
        except HandlerFaultError as error:
            _log.exception("cleanup_handler_broke_its_contract", handler=error.handler)
            raise InvalidParameters("", str(error), "ask the operator; nothing was done") from error


def registry_of(
    settings: NodeSettings, *, run_blocking: RunBlocking, environ: Mapping[str, str], make_thread: MakeThread
) -> HandlerRegistry:
    """Make the handlers of a node. Performs no I/O. Raises `HandlerSettingsError`."""
    return build_registry(
        _wanted(settings.handlers), run_blocking=run_blocking, environ=environ, make_thread=make_thread
    )


def check_handlers(handlers: Mapping[str, Registered], *, environ: Mapping[str, str]) -> tuple[Problem, ...]:
    """All that is wrong with handlers' own options, then with the world around the others. Reads, and changes nothing."""
    registry, faults = build_what_can_be(_wanted(handlers), run_blocking=run_directly, environ=environ)
    remedy = "correct it, or the handler's table"
    around = [Problem(f"handlers.{name}", problem, remedy) for name, problem in registry.check()]
    return (*map(problem_of, faults), *around)


def _wanted(handlers: Mapping[str, Registered]) -> list[HandlerSettings]:
    return [
        HandlerSettings(
            name=each.name,
            kind=each.kind,
            options=each.revealed(),
            slots_max=each.slots_max,
            attempt_timeout_ms=each.attempt_timeout_ms,
            attempts_max=each.attempts_max,
            rate=each.rate,
        )
        for each in handlers.values()
    ]


def problem_of(error: HandlerSettingsError) -> Problem:
    """The error in the configuration's words."""
    key = f"handlers.{error.handler}" + (f".{error.option}" if error.option else "")
    return Problem(key, error.problem, error.remedy)
