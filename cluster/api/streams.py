"""Streams of requests that are answered in order, several at a time.

Answering one by one would cost a commit for each message. So what has arrived while the last ones were being committed
is taken together, up to a bound; beyond it the sender is held back by HTTP/2's own flow control.
"""

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Generic, Self, TypeVar

M = TypeVar("M")


class ReadAhead(Generic[M]):
    """Reads an iterator ahead, at most `ahead_max` messages. `async with` owns the task that does it."""

    def __init__(self, messages: AsyncIterator[M], ahead_max: int) -> None:
        self._messages = messages
        self._room = asyncio.Semaphore(ahead_max)
        self._waiting: asyncio.Queue[M | None] = asyncio.Queue()
        """Bounded by `_room`, plus one None for the end."""
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._reader = asyncio.create_task(self._read(), name="read-ahead")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._reader is not None, "entered once"
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def take(self) -> list[M]:
        """All messages that wait, at least one; empty at the stream's end. Raises what reading raised."""
        taken: list[M] = []
        message = await self._waiting.get()
        while message is not None:
            taken.append(message)
            self._room.release()
            if self._waiting.empty():
                return taken
            message = self._waiting.get_nowait()
        if taken:
            self._waiting.put_nowait(None)  # the end comes again, by itself
            return taken
        assert self._reader is not None, "entered once"
        await self._reader
        return taken

    async def _read(self) -> None:
        try:
            async for message in self._messages:
                await self._room.acquire()
                self._waiting.put_nowait(message)
        finally:
            self._waiting.put_nowait(None)
