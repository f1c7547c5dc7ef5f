"""What the process writes about itself: structured lines on standard error.

Duty: set structlog and the standard library's logging up once, in one format, with the node's id in every line.
Invariants: what libraries log goes the same way, from `warning` on; a secret is a `Secret` and renders as asterisks.
Wall-clock time appears here only, for people.
Must not know: who logs what.
"""

import logging
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TextIO

import structlog

NS_PER_S = 1_000_000_000
_LIBRARIES = ("aiohttp", "asyncio", "grpc", "pysyncobj")


def configure_logs(
    *,
    level: str,
    log_format: str,
    node_id: str,
    stream: TextIO | None = None,
    wall_ns: Callable[[], int] = time.time_ns,
) -> None:
    """Set logging up for this process. `log_format` is auto, json or console; `stream` defaults to standard error.

    `wall_ns` is the time that lines bear, since 1970.
    """
    target = sys.stderr if stream is None else stream
    as_json = log_format == "json" or (log_format == "auto" and not target.isatty())

    def add_node(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        # Not a context variable: the Raft thread's lines need it, too, and contexts do not cross threads.
        event["node"] = node_id
        return event

    def add_time(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        moment = datetime.fromtimestamp(wall_ns() / NS_PER_S, tz=UTC)
        event["timestamp"] = moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
        return event

    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        add_node,
        add_time,
    ]
    rendering: list[structlog.typing.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if as_json:
        rendering += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    else:
        rendering += [structlog.dev.ConsoleRenderer(colors=target.isatty())]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=rendering))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
