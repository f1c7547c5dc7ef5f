"""Log lines: one object each, with the node's name, whoever wrote them."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from garbagetruck.cluster.node.config.values import Secret
from garbagetruck.cluster.node.logs import configure_logs


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_every_line_is_one_object_with_node_level_and_time() -> None:
    stream = io.StringIO()
    configure_logs(level="info", log_format="auto", node_id="n1", stream=stream)
    structlog.get_logger("garbagetruck.tests").info("node is ready", term=3)
    structlog.get_logger("garbagetruck.tests").debug("not written")
    (line,) = lines(stream)
    assert (line["event"], line["node"], line["level"], line["term"]) == ("node is ready", "n1", "info", 3)
    assert line["logger"] == "garbagetruck.tests"
    assert str(line["timestamp"]).endswith("Z")


def test_what_libraries_log_goes_the_same_way_from_warning_on() -> None:
    stream = io.StringIO()
    configure_logs(level="debug", log_format="json", node_id="n1", stream=stream)
    logging.getLogger("grpc._cython").info("chatter")
    logging.getLogger("grpc._cython").warning("trouble on %s", "port")
    (line,) = lines(stream)
    assert (line["event"], line["node"]) == ("trouble on port", "n1")


def test_an_exception_is_told_whole_and_a_secret_not_at_all() -> None:
    stream = io.StringIO()
    configure_logs(level="info", log_format="json", node_id="n1", stream=stream)
    try:
        int("broken")
    except ValueError:
        structlog.get_logger("t").exception("it failed", password=Secret("hunter2"))
    (line,) = lines(stream)
    assert "ValueError: invalid literal" in str(line["exception"])
    assert "hunter2" not in stream.getvalue()
