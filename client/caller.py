"""The one way in which every part of the client makes a call.

Duty: put namespace-wide settings, request ids and timeouts where they belong, and page through lists.
Invariant: every mutation that leaves this process bears a request id; every read says how fresh it has to be.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, ParamSpec, Protocol, TypeVar

from garbagetruck.client.connection import Answer, Connection, Unary
from garbagetruck.client.fitting import fit
from garbagetruck.client.world import World
from garbagetruck.v1 import header_pb2


class _Mutation(Protocol):
    request_id: str


MutationT = TypeVar("MutationT", bound=_Mutation)
RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")
ItemT = TypeVar("ItemT")
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Caller:
    """A connection as one namespace sees it."""

    connection: Connection
    namespace: str
    """Empty: the default one."""
    timeout_s: float
    """For calls that name none."""

    @property
    def world(self) -> World:
        return self.connection.world

    async def mutate(
        self,
        select: Unary[MutationT, ResponseT],
        timeout: float | None,
        make: Callable[P, MutationT],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Answer[ResponseT]:
        """Make a request, give it a request id unless it has one, and carry it through."""
        request = fit("", make, *args, **kwargs)
        if not request.request_id:
            request.request_id = self.world.new_request_id()
        return await self.connection.call(select, request, timeout_s=self._timeout_s(timeout), mutates=True)

    async def read(
        self,
        select: Unary[RequestT, ResponseT],
        timeout: float | None,
        make: Callable[P, RequestT],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Answer[ResponseT]:
        """Make a request that changes nothing, and carry it through."""
        request = fit("", make, *args, **kwargs)
        return await self.connection.call(select, request, timeout_s=self._timeout_s(timeout), mutates=False)

    def _timeout_s(self, timeout: float | None) -> float:
        return self.timeout_s if timeout is None else timeout


def consistency(*, stale: bool) -> header_pb2.ReadConsistency.ValueType:
    """How fresh a read has to be, in the API's words."""
    return header_pb2.READ_CONSISTENCY_STALE if stale else header_pb2.READ_CONSISTENCY_LINEARIZABLE


@dataclass(frozen=True, slots=True)
class Page(Generic[ItemT]):
    """A part of a list."""

    items: tuple[ItemT, ...]
    next_page_token: str
    """Where the next one begins. Empty: this was the last."""


class Listing(Generic[ItemT]):
    """A list on the cluster. `async for` goes through all of it, page by page; `page` gets one page."""

    def __init__(self, fetch: Callable[[int, str], Awaitable[Page[ItemT]]], page_size: int) -> None:
        self._fetch = fetch
        self._page_size = page_size

    async def page(self, page_token: str = "") -> Page[ItemT]:
        """Get the page that begins at a token of an earlier one; empty = the first."""
        return await self._fetch(self._page_size, page_token)

    async def __aiter__(self) -> AsyncIterator[ItemT]:
        page_token = ""
        while True:
            page = await self._fetch(self._page_size, page_token)
            for item in page.items:
                yield item
            page_token = page.next_page_token
            if not page_token:
                return
