"""The command line in tests: in this process, or in one of its own.

Duty: run `garbagetruck` against a test's cluster. It must not know: what a test is about.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from typer.testing import CliRunner

from garbagetruck.cli.app import app
from tests.cluster_fixtures.local import LocalCluster

GARBAGETRUCK = [sys.executable, "-c", "from garbagetruck.cli.main import main; main()"]
"""For a process of its own."""


def environment(cluster: LocalCluster) -> dict[str, str]:
    """What makes the command line talk to this cluster."""
    # More patience than a person needs: the machine that runs this may be busy.
    return {**os.environ, "GARBAGETRUCK_ENDPOINTS": cluster.endpoints, "GARBAGETRUCK_TIMEOUT": "30s"}


class Line:
    """One command line after the other, in this process."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._runner = CliRunner(env=environment(cluster))

    def __call__(self, line: str, *arguments: str, exits: int | None = 0) -> tuple[str, str]:
        """What it said on standard output and standard error. `exits` None: any code will do."""
        ran = self._runner.invoke(app, [*line.split(), *arguments])
        assert exits in (None, ran.exit_code), f"{line}: {ran.exit_code}\n{ran.output}\n{ran.exception!r}"
        return ran.stdout, ran.stderr

    def json(self, line: str, *arguments: str, exits: int | None = 0) -> Any:
        return json.loads(self(f"{line} -o json", *arguments, exits=exits)[0])

    def healthy(self, *arguments: str) -> str:
        """What `status` says once all is well: on a busy machine a node misses a question now and then."""
        said = ""

        def asked() -> bool:
            nonlocal said
            ran = self._runner.invoke(app, ["status", *arguments])
            said = ran.stdout
            return ran.exit_code == 0

        until(asked)
        return said

    def name(self, line: str, *arguments: str) -> str:
        return self(f"{line} -o name", *arguments)[0].strip()


def until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Wait for what another process brings about."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come about in time"
        time.sleep(0.05)
