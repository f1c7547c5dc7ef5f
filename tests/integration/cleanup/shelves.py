"""Places where things lie that are leased, each with a handler that can be stopped on its way there.

Duty: let one story be told of files, rows and objects alike. It must not know: the story.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar
from urllib.parse import urlsplit

from typing_extensions import override

from garbagetruck.cluster.cleanup.handler import Handler
from garbagetruck.cluster.cleanup.handlers.file import file_handlers
from garbagetruck.cluster.cleanup.running import run_directly
from tests.integration.cleanup.databases import Database
from tests.integration.cleanup.held_calls import HeldCalls
from tests.integration.cleanup.held_wire import HeldWire
from tests.integration.cleanup.stores import Bucket

STORY = "2m"
"""Longer than any story: it is not a timeout that keeps the one who was stopped from going on."""


class Shelf(ABC):
    """One thing, under one name. `node` is a handler as a node has it; `stoppable` another's, which can be stopped."""

    parameters: ClassVar[Mapping[str, str]]

    @abstractmethod
    def node(self) -> AbstractAsyncContextManager[Handler]: ...

    @abstractmethod
    def stoppable(self) -> AbstractAsyncContextManager[Handler]: ...

    @abstractmethod
    def stop(self) -> None:
        """Stop the other one where it comes next between its comparison and its deletion, or before both."""

    @abstractmethod
    async def stopped(self) -> None:
        """Return when it stands there."""

    @abstractmethod
    def go_on(self) -> None: ...

    @abstractmethod
    async def write(self, token: int, content: str) -> None:
        """Make the thing, as a holder of a lease with this token."""

    @abstractmethod
    async def content(self) -> str | None:
        """What is there; None when nothing is."""


class FileShelf(Shelf):
    """A file. The handler is stopped before it takes the root's lock: behind that, nobody else could finish."""

    parameters = MappingProxyType({"path": "42"})

    def __init__(self, root: Path) -> None:
        self._root = root
        self._calls = HeldCalls()

    @override
    @asynccontextmanager
    async def node(self) -> AsyncIterator[Handler]:
        handler = file_handlers(run_directly)({"roots": [str(self._root)]}, "shelf")
        await handler.start()
        yield handler
        await handler.stop()

    @override
    @asynccontextmanager
    async def stoppable(self) -> AsyncIterator[Handler]:
        handler = file_handlers(self._calls)({"roots": [str(self._root)]}, "shelf")
        await handler.start()
        yield handler
        await handler.stop()

    @override
    def stop(self) -> None:
        self._calls.hold()

    @override
    async def stopped(self) -> None:
        await self._calls.held.wait()

    @override
    def go_on(self) -> None:
        self._calls.let_go()

    @override
    async def write(self, token: int, content: str) -> None:
        (self._root / "42").write_text(content)

    @override
    async def content(self) -> str | None:
        path = self._root / "42"
        return path.read_text() if path.exists() else None


class WiredShelf(Shelf):
    """Something behind a connection. The handler is stopped when it says a certain word."""

    word: ClassVar[bytes]

    def __init__(self, wire: HeldWire) -> None:
        self._wire = wire

    @override
    def stop(self) -> None:
        self._wire.hold(self.word)

    @override
    async def stopped(self) -> None:
        await self._wire.held.wait()

    @override
    def go_on(self) -> None:
        self._wire.let_go()


class RowShelf(WiredShelf):
    """A row. The handler is stopped in its transaction, before its statement comes to the server."""

    parameters = MappingProxyType({"id": "42"})
    word = b"DELETE"

    def __init__(self, wire: HeldWire, database: Database, statement: dict[str, object]) -> None:
        super().__init__(wire)
        self._database = database
        self._statement = statement

    @override
    def node(self) -> AbstractAsyncContextManager[Handler]:
        return self._database.handler(self._statement)

    @override
    def stoppable(self) -> AbstractAsyncContextManager[Handler]:
        return self._database.handler(self._statement, self._wire.port, statement_timeout=STORY)

    @override
    async def write(self, token: int, content: str) -> None:
        await self._database.write(42, token, content)

    @override
    async def content(self) -> str | None:
        found = await self._database.execute("SELECT owner FROM uploads WHERE id = 42")
        return str(found[0]["owner"]) if found else None


class ObjectShelf(WiredShelf):
    """An object. The handler is stopped when it has compared and asks for the deletion."""

    parameters = MappingProxyType({"key": "tmp/42"})
    word = b"DELETE /"

    def __init__(self, wire: HeldWire, bucket: Bucket, fence: str) -> None:
        super().__init__(wire)
        self._bucket = bucket
        self._fence = fence

    @override
    def node(self) -> AbstractAsyncContextManager[Handler]:
        return self._bucket.handler(self._fence)

    @override
    def stoppable(self) -> AbstractAsyncContextManager[Handler]:
        here = f"http://127.0.0.1:{self._wire.port}"
        return self._bucket.handler(self._fence, endpoint_url=here, answer_timeout=STORY)

    @override
    async def write(self, token: int, content: str) -> None:
        await self._bucket.write("tmp/42", content.encode())

    @override
    async def content(self) -> str | None:
        return (await self._bucket.read("tmp/42")).decode() if "tmp/42" in await self._bucket.keys() else None


def wire_to(url: str) -> HeldWire:
    """A relay to a server's address."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return HeldWire(parts.hostname, parts.port)
