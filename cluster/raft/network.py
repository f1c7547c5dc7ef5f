"""TCP and TLS: listening, and connecting to peers.

Duty: open links. Names are resolved by the loop, off the loop, anew for every attempt. Accepting goes on whatever
happens to one connection; one that does not end its TLS handshake in time is closed, and so is what comes past
`strangers_max` at once, before a byte is read from it.

Threads: that of its loop only.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from garbagetruck.cluster.raft.frames import RAFT, Language
from garbagetruck.cluster.raft.link import Link, LinkOwner
from garbagetruck.cluster.raft.settings import Member
from garbagetruck.cluster.raft.tls import TlsContexts

ACCEPT_PAUSE_S = 0.1
"""After an accept failed, as for want of descriptors."""

BACKLOG = 64

_GONE = (errno.ECONNABORTED, errno.EINTR, errno.EPROTO)
"""Failures of the connection that was to be accepted, not of the listening socket."""


class Network(Protocol):
    """Where links come from. A simulator has one of its own."""

    async def listen(self, own: Member, owner: LinkOwner) -> None:
        """Accept from now on. Raises OSError."""

    async def dial(self, peer: Member, owner: LinkOwner) -> None:
        """Open a link to `peer`, or fail. Raises OSError, TimeoutError."""

    async def close(self) -> None:
        """Accept no more. Links are their owner's to end."""


class TcpNetwork:
    """Real sockets. `refuse` is told (cause, address) of what is not even let to the owner."""

    def __init__(
        self,
        *,
        tls: TlsContexts | None,
        handshake_s: float,
        strangers_max: int,
        monotonic_ns: Callable[[], int],
        refuse: Callable[[str, str, str], None],
        on_bug: Callable[[BaseException], None],
        language: Language = RAFT,
    ) -> None:
        self._language = language
        self._tls = tls
        self._handshake_s = handshake_s
        self._strangers_max = strangers_max
        self._monotonic_ns = monotonic_ns
        self._refuse = refuse
        self._on_bug = on_bug
        self._listening: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._securing: set[asyncio.Task[None]] = set()

    async def listen(self, own: Member, owner: LinkOwner) -> None:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(own.host, own.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        self._listening = socket.create_server(address[:2], family=family, backlog=BACKLOG)
        self._listening.setblocking(False)
        self._accepting = loop.create_task(self._accept(self._listening, owner), name=f"{self._language.name}-accept")
        self._accepting.add_done_callback(self._on_accepting_ended)

    async def dial(self, peer: Member, owner: LinkOwner) -> None:
        async with asyncio.timeout(self._handshake_s):
            await asyncio.get_running_loop().create_connection(
                lambda: self._link(owner, peer.node_id, peer.host),
                peer.host,
                peer.port,
                **self._securely(None if self._tls is None else self._tls.client),
            )

    async def close(self) -> None:
        tasks = [*self._securing] if self._accepting is None else [self._accepting, *self._securing]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._listening is not None:
            self._listening.close()

    # --- accepting --------------------------------------------------------------------------------------------------

    async def _accept(self, listening: socket.socket, owner: LinkOwner) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, address = await self._accept_one(listening)
            except OSError as error:
                if error.errno not in _GONE:
                    self._refuse("accept failed", "", str(error))
                    await asyncio.sleep(ACCEPT_PAUSE_S)
                continue
            if len(self._securing) >= self._strangers_max:
                self._refuse("too many strangers", str(address[0]), "")
                accepted.close()
                continue
            task = loop.create_task(
                self._secure(accepted, str(address[0]), owner), name=f"{self._language.name}-secure"
            )
            self._securing.add(task)
            task.add_done_callback(partial(self._on_secured, accepted))

    @staticmethod
    async def _accept_one(listening: socket.socket) -> tuple[socket.socket, Any]:
        """As `sock_accept`; and a socket that was accepted at the moment of being cancelled is closed, not lost."""
        accepting = asyncio.ensure_future(asyncio.get_running_loop().sock_accept(listening))
        try:
            return await asyncio.shield(accepting)
        except asyncio.CancelledError:
            accepting.cancel()
            with suppress(asyncio.CancelledError, OSError):
                (await accepting)[0].close()
            raise

    async def _secure(self, accepted: socket.socket, address: str, owner: LinkOwner) -> None:
        try:
            accepted.setblocking(False)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(self._handshake_s):
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: self._link(owner, None, address),
                    accepted,
                    **self._securely(None if self._tls is None else self._tls.server, server=True),
                )
        except ssl.SSLError as error:
            self._refuse("TLS handshake failed", address, error.reason or str(error))
        except TimeoutError:
            self._refuse("TLS handshake too slow", address, "")
        except OSError as error:
            self._refuse("TLS handshake broken off", address, str(error))

    def _securely(self, context: ssl.SSLContext | None, *, server: bool = False) -> dict[str, Any]:
        if context is None:
            return {}
        options: dict[str, Any] = {"ssl": context, "ssl_handshake_timeout": self._handshake_s}
        return options if server else options | {"server_hostname": ""}

    def _link(self, owner: LinkOwner, expected: str | None, address: str) -> Link:
        return Link(
            language=self._language,
            owner=owner,
            expected=expected,
            address=address,
            monotonic_ns=self._monotonic_ns,
            on_bug=self._on_bug,
        )

    def _on_secured(self, accepted: socket.socket, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            accepted.close()  # here, for a task that is cancelled before its first step never sees it
        self._securing.discard(task)
        self._report(task)

    def _on_accepting_ended(self, task: asyncio.Task[None]) -> None:
        self._report(task)

    def _report(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_bug(error)
