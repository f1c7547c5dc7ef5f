"""What befalls a server: killed with all its processes, or stopped."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from garbagetruck.storage.embedded.server import EmbeddedPostgres

GONE_TIMEOUT_S = 20.0


def _family(server: EmbeddedPostgres) -> list[psutil.Process]:
    assert server.pid is not None
    postmaster = psutil.Process(server.pid)
    return [postmaster, *postmaster.children(recursive=True)]


def kill(server: EmbeddedPostgres) -> None:
    """As if the machine were gone: no process of it says a word any more."""
    family = _family(server)
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    _, alive = psutil.wait_procs(family[1:], GONE_TIMEOUT_S)
    assert alive == []
    server.stop()
    assert server.pid is None


@contextmanager
def stopped(server: EmbeddedPostgres) -> Iterator[None]:
    """Connections stay open, new ones are accepted by the kernel, and nobody answers."""
    family = _family(server)
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    try:
        yield
    finally:
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.resume()
