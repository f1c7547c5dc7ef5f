"""One connection to another node, as asyncio sees it.

Duty: messages in, messages out, over one stream of bytes. What cannot be read ends it; what the other side does not
take in time is bounded by its owner, who looks at `waiting_bytes` after every message.

Invariants: the owner is told `on_open` first, `on_lost` last, and each once. What the owner raises is a bug and goes to
`on_bug`; asyncio would only log it.

Threads: that of its loop only.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from typing_extensions import override

from garbagetruck.cluster.raft.frames import (
    GREETING_BYTES_MAX,
    Frame,
    FrameReader,
    FrameRefusedError,
    Language,
    frame_of,
)
from garbagetruck.cluster.raft.tls import PeerNames, names_of


class Channel(Protocol):
    """What is used of a link. A simulator or a test may put something else in its place."""

    @property
    def expected(self) -> str | None:
        """The node that was connected to; None when somebody connected to this node."""

    @property
    def address(self) -> str:
        """The other side's host, without a port: for people."""

    @property
    def names(self) -> PeerNames | None:
        """What the other side's certificate says that it is; None when the connection is not encrypted."""

    @property
    def read_ns(self) -> int:
        """When something was read last."""

    @property
    def waiting_bytes(self) -> int:
        """What was said and has not left yet."""

    def allow(self, frame_bytes_max: int) -> None:
        """Take frames of up to that size from now on."""

    def forgive(self, since_ns: int) -> None:
        """Do as if something had been read at `since_ns`, if that is later than it was."""

    def send(self, message: Frame) -> None:
        """Say `message`, unless the link has ended."""

    async def drain(self) -> None:
        """Return once most of what was said has left, or the link has ended."""

    def abort(self) -> None:
        """End it now; what has not left never will. The owner is told, later."""

    def close(self) -> None:
        """End it once what was said has left. The owner is told, later."""


class LinkOwner(Protocol):
    """Who is told what happens on a link."""

    def on_open(self, link: Channel) -> None: ...

    def on_message(self, link: Channel, message: Frame) -> None: ...

    def on_malformed(self, link: Channel, error: FrameRefusedError) -> None:
        """What was read is no message. The link is lost next."""

    def on_lost(self, link: Channel) -> None: ...


class Link(asyncio.Protocol):
    """A `Channel` over TCP, or over TLS: then it opens when the handshake is over."""

    def __init__(
        self,
        *,
        language: Language,
        owner: LinkOwner,
        expected: str | None,
        address: str,
        monotonic_ns: Callable[[], int],
        on_bug: Callable[[BaseException], None],
    ) -> None:
        self._language = language
        self.expected = expected
        self.address = address
        self.names: PeerNames | None = None
        self.read_ns = monotonic_ns()
        self._owner = owner
        self._monotonic_ns = monotonic_ns
        self._on_bug = on_bug
        self._reader = FrameReader(GREETING_BYTES_MAX, language)
        self._transport: asyncio.Transport | None = None
        self._room: asyncio.Future[None] | None = None
        """Exists while the other side does not read as fast as this one writes."""

    # --- the owner --------------------------------------------------------------------------------------------------

    @property
    def waiting_bytes(self) -> int:
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def allow(self, frame_bytes_max: int) -> None:
        self._reader.frame_bytes_max = frame_bytes_max

    def forgive(self, since_ns: int) -> None:
        self.read_ns = max(self.read_ns, since_ns)

    def send(self, message: Frame) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        try:
            self._transport.write(frame_of(message, self._language))
        except RuntimeError:
            # uvloop may have closed the socket and not have told so yet, `is_closing` included. It will: `connection_lost`.
            self._transport.abort()

    async def drain(self) -> None:
        if self._room is not None:
            await asyncio.shield(self._room)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # --- asyncio ----------------------------------------------------------------------------------------------------

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.names = names_of(transport.get_extra_info("ssl_object"))
        self.read_ns = self._monotonic_ns()
        self._tell(lambda: self._owner.on_open(self))

    @override
    def data_received(self, data: bytes) -> None:
        self.read_ns = self._monotonic_ns()
        self._tell(lambda: self._read(data))

    def _read(self, data: bytes) -> None:
        assert self._transport is not None
        try:
            for message in self._reader.feed(data):
                if self._transport.is_closing():
                    return
                self._owner.on_message(self, message)
        except FrameRefusedError as error:
            self._owner.on_malformed(self, error)
            self.abort()

    @override
    def pause_writing(self) -> None:
        if self._room is None:
            self._room = asyncio.get_running_loop().create_future()

    @override
    def resume_writing(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.resume_writing()
        if self._transport is not None:
            self._transport = None
            self._tell(lambda: self._owner.on_lost(self))

    def _tell(self, what: Callable[[], None]) -> None:
        try:
            what()
        except BaseException as error:  # noqa: BLE001  # ends the node
            self._on_bug(error)
