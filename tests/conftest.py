"""What every test gets: a seed that is printed and can be repeated, and fair sharing of the machine between workers.

Duty: fixtures and settings that know nothing of the product. It must not know: any module of `garbagetruck`.
"""

import logging
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import settings

# Before any other conftest imports one of them: pytest shall explain failed assertions in shared modules as well.
for _module in ("chorus", "integrity", "promises", "scribe"):
    pytest.register_assert_rewrite(f"tests.unit.machine.{_module}")

SEED_VARIABLE = "GARBAGETRUCK_TEST_SEED"

_TESTS = Path(__file__).parent
_GROUPS = {_TESTS / "integration": "nodes", _TESTS / "end_to_end": "clusters", _TESTS / "contract": "storage"}

# The machine that runs the tests may be busy, so that no example has a deadline; a failure prints how to repeat it.
settings.register_profile("garbagetruck", deadline=None, print_blob=True)
settings.load_profile("garbagetruck")


@pytest.fixture
def seed() -> int:
    """The seed of everything random in a test, shown when it fails; `GARBAGETRUCK_TEST_SEED` repeats it."""
    chosen = os.environ.get(SEED_VARIABLE)
    value = secrets.randbits(32) if chosen is None else int(chosen)
    print(f"{SEED_VARIABLE}={value} repeats this run")
    return value


@pytest.fixture(autouse=True)
def _logging_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A command that a test runs in this process sets logging up for a process of its own: the next test has it as it was.

    And it keeps its loggers as it made them; here it does not, or they would be so for all tests that follow.
    """
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    configure = structlog.configure

    def configure_without_keeping(**settings: Any) -> None:
        configure(**settings | {"cache_logger_on_first_use": False})

    monkeypatch.setattr(structlog, "configure", configure_without_keeping)
    yield
    structlog.reset_defaults()
    root.setLevel(level)
    root.handlers[:] = handlers
    for each in logging.root.manager.loggerDict.values():
        if isinstance(each, logging.Logger):
            each.disabled = False  # a library that sets logging up disables all that there are


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep tests that start clusters of processes on one worker of pytest-xdist: two clusters on two cores starve each other.
    Those of nodes in this process, which wait more than they work, on another; and those that share a PostgreSQL server on one, so
    that there is one server."""
    for item in items:
        for folder, group in _GROUPS.items():
            if item.path.is_relative_to(folder):
                item.add_marker(pytest.mark.xdist_group(group))
