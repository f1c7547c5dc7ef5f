"""The asking half of the connections to the peers: streams of requests, and questions after a node's status.

Duty: say a request on the one connection to a peer, and bring the response to whoever asked.
Invariants: nothing is asked where there is no connection. When it ends, every stream over it is broken, and every open
question fails; a stream that was closed hears nothing more. What is said and not read by the peer is bounded: `send`
waits.
Must not know: how connections come about, what the requests ask for.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator

from typing_extensions import override

from garbagetruck.cluster.api.ports import PeerUnreachable
from garbagetruck.cluster.node.peers.port import LinkBrokenError, PeerLink, PeerRequest, PeerResponse, PeerStream
from garbagetruck.cluster.node.peers.wire import StatusRequest, StatusResponse
from garbagetruck.cluster.raft.frames import Frame
from garbagetruck.cluster.raft.sessions import Session

Say = Callable[[Session, Frame], None]


class CallStream(PeerStream):
    """One asker's requests over one connection, and the responses to them."""

    def __init__(self, node_id: str, session: Session, say: Say, on_close: Callable[["CallStream"], None]) -> None:
        self._node_id = node_id
        self.session = session
        self._say = say
        self._on_close = on_close
        self._responses: deque[PeerResponse] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._broken = False
        self.open_ids: set[int] = set()
        """Requests that were sent and not answered."""

    @override
    async def send(self, request: PeerRequest) -> None:
        if self._broken:
            raise self._break()
        self.open_ids.add(request.id)
        self._say(self.session, request)
        await self.session.link.drain()

    @override
    async def receive(self) -> PeerResponse:
        while not self._responses:
            if self._broken:
                raise self._break()
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        return self._responses.popleft()

    @override
    async def close(self) -> None:
        self.end()
        self._on_close(self)

    def hear(self, response: PeerResponse) -> None:
        """Take a response to one of `open_ids`."""
        self.open_ids.discard(response.id)
        self._responses.append(response)
        self._wake()

    def end(self) -> None:
        """Whoever reads, or will, is told that it broke. Idempotent."""
        self._broken = True
        self.open_ids.clear()
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _break(self) -> LinkBrokenError:
        return LinkBrokenError(f"the connection to {self._node_id} ended")


class PeerCalls(PeerLink):
    """Runs on the node's main loop. `find` tells the connection to a node, if there is one; `say` says something there.

    Ids of requests are unique among all streams to one peer: whoever makes requests sees to it.
    """

    def __init__(self, *, find: Callable[[str], Session | None], say: Say) -> None:
        self._find = find
        self._say = say
        self._streams: dict[Session, list[CallStream]] = {}
        self._questions: dict[int, tuple[Session, asyncio.Future[StatusResponse]]] = {}
        self._question_ids: Iterator[int] = iter(range(1, 1 << 62))

    @override
    async def connect(self, node_id: str) -> PeerStream:
        session = self._find(node_id)
        if session is None:
            raise LinkBrokenError(f"there is no connection to {node_id} at present")
        stream = CallStream(node_id, session, self._say, self._forget)
        self._streams.setdefault(session, []).append(stream)
        return stream

    def _forget(self, stream: CallStream) -> None:
        streams = self._streams.get(stream.session, [])
        if stream in streams:
            streams.remove(stream)

    async def ask_status(self, node_id: str) -> StatusResponse:
        """Raises `PeerUnreachable`; the caller sets the deadline, by cancelling."""
        session = self._find(node_id)
        if session is None:
            raise PeerUnreachable(f"there is no connection to {node_id} at present")
        question = next(self._question_ids)
        answer: asyncio.Future[StatusResponse] = asyncio.get_running_loop().create_future()
        self._questions[question] = (session, answer)
        try:
            self._say(session, StatusRequest(question))
            return await answer
        finally:
            del self._questions[question]

    # -- the connections --------------------------------------------------------------------------------------

    def hear(self, session: Session, response: PeerResponse) -> None:
        """Bring a response to its stream. One that nobody waits for any more is let go."""
        for stream in self._streams.get(session, ()):
            if response.id in stream.open_ids:
                stream.hear(response)
                return

    def hear_status(self, session: Session, response: StatusResponse) -> None:
        """Bring an answer to who asked; only the node that was asked can give it."""
        asked, answer = self._questions.get(response.id, (None, None))
        if answer is not None and asked is session and not answer.done():
            answer.set_result(response)

    def ended(self, session: Session) -> None:
        """The connection is gone."""
        for stream in self._streams.pop(session, ()):
            stream.end()
        for asked, answer in self._questions.values():
            if asked is session and not answer.done():
                answer.set_exception(PeerUnreachable(f"the connection to {session.name} ended"))
