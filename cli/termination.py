"""SIGTERM and SIGHUP, taken as Ctrl-C is: for commands that start processes and must not leave them.

Duty: hand them on as SIGINT to whoever handles that at the moment. While an event loop runs this is asyncio, which
cancels the main task; outside of it, Python, which raises `KeyboardInterrupt`.
Must not: raise in the middle of what the event loop does. A child process that had just been started would be nobody's.
"""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

NUMBERS = (signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def interrupted_by_termination() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end us as Ctrl-C does: with everything that was started."""
    before = [signal.signal(number, _interrupt) for number in NUMBERS]
    try:
        yield
    finally:
        for number, handler in zip(NUMBERS, before, strict=True):
            signal.signal(number, handler)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    signal.raise_signal(signal.SIGINT)
