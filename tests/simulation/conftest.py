"""Settings of the simulated tests.

Simulated time does not care how fast this machine is; the clusters of real processes that are tested at the same time do. So these
tests let them go first: each runs in a thread of its own, at a low priority that ends with the thread.
"""

import logging
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

MODEST = 5
"""The niceness of a simulated test: a third of the others' share while they want all of the machine."""
TIMEOUT_S = 360
"""Three times that of other tests."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """The nodes' own log says nothing that a history does not."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test here; what it raises is raised."""
    if sys.platform != "linux":  # elsewhere a thread has no priority of its own
        return None
    raised: list[BaseException] = []

    def run() -> None:
        # Only the system's first account may take it back, so it is this thread's alone.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.nice(0) + MODEST)
        try:
            pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames})
        except BaseException as error:  # noqa: BLE001 - raised again below, also when it skips
            raised.append(error)

    thread = threading.Thread(target=run, name="modest")
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
    return True
