"""Bugs in callbacks of the loop: asyncio would log them and go on.

Duty: wrap what is handed to `call_soon` and `call_later`, so that whatever it raises ends the node.
Must not know: what the callbacks do.
"""

from collections.abc import Callable

OnFatal = Callable[[BaseException], None]
"""Ends the process, promptly and with a failure."""


def or_die(callback: Callable[[], None], on_fatal: OnFatal) -> Callable[[], None]:
    """`callback`, whose exceptions go to `on_fatal` instead of asyncio's log."""

    def guarded() -> None:
        try:
            callback()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a bug, and the node must not outlive it
            on_fatal(error)

    return guarded
