"""A relay on loopback that can hold back what a client says: a handler that is stopped between two of its steps.

Duty: pass bytes on, both ways; hold back what the client sends from a word on, until it is let go.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

CHUNK_BYTES = 65_536


class HeldWire:
    """Listens on a free port of 127.0.0.1."""

    def __init__(self, host: str, port: int) -> None:
        self._there = (host, port)
        self._word: bytes | None = None
        self._go_on = asyncio.Event()
        self.held = asyncio.Event()
        """Set when something is held back."""
        self.port = 0

    def hold(self, word: bytes) -> None:
        """Hold back the next that a client says with this word in it, and what follows on that connection."""
        self._word = word
        self.held.clear()
        self._go_on.clear()

    def let_go(self) -> None:
        """Pass it on, and everything after it."""
        self._word = None
        self._go_on.set()

    @asynccontextmanager
    async def served(self) -> AsyncIterator["HeldWire"]:
        pumps: set[asyncio.Task[None]] = set()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            pumps.add(task)
            with suppress(OSError):
                there_reader, there_writer = await asyncio.open_connection(*self._there)
                try:
                    async with asyncio.TaskGroup() as both:
                        both.create_task(self._pump(reader, there_writer, from_client=True))
                        both.create_task(self._pump(there_reader, writer, from_client=False))
                finally:
                    there_writer.close()
                    writer.close()

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_client: bool) -> None:
        with suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                if from_client and self._word is not None and self._word in chunk:
                    self._word = None
                    self.held.set()
                    await self._go_on.wait()
                writer.write(chunk)
                await writer.drain()
        with suppress(OSError, RuntimeError):
            writer.write_eof()
