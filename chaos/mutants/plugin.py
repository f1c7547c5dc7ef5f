"""A plugin of pytest: plants a mutant before any test is imported, and writes down what became of each test.

Duty: `GARBAGETRUCK_MUTANT` names the mutant (empty: none), `GARBAGETRUCK_MUTANT_OUTCOMES` the file for the outcomes.
It must not be loaded but by `run`, and does not import pytest: the product does without it.
"""

import json
import os
from pathlib import Path
from typing import Any

from garbagetruck.chaos.mutants.patch import Patch
from garbagetruck.chaos.mutants.table import MUTANTS

MUTANT, OUTCOMES = "GARBAGETRUCK_MUTANT", "GARBAGETRUCK_MUTANT_OUTCOMES"
SAID_CHARACTERS_MAX = 400

_outcomes: list[dict[str, str]] = []


def pytest_load_initial_conftests() -> None:
    """Before the tests and their fixtures take names from the modules that are patched."""
    name = os.environ.get(MUTANT, "")
    if name:
        MUTANTS[name].plant(Patch())


def pytest_runtest_logreport(report: Any) -> None:
    if report.failed or report.when == "call":
        crash = getattr(report.longrepr, "reprcrash", None)
        said = str(getattr(crash, "message", report.longrepr or ""))[:SAID_CHARACTERS_MAX]
        _outcomes.append({"test": report.nodeid, "when": report.when, "outcome": report.outcome, "said": said})


def pytest_sessionfinish() -> None:
    Path(os.environ[OUTCOMES]).write_text(json.dumps(_outcomes), encoding="utf-8")
