"""The answering half of the connections to the peers.

Duty: carry requests to the handler, and its responses back, in whatever order they come.
Invariants: at most `outstanding_max` requests of one peer are under way; what comes past it is refused with `Overloaded`,
and nothing of it is done. When a connection ends, what is under way for it is cancelled: what is not sealed is withdrawn.
Must not know: what the requests ask for.
"""

import asyncio
from collections.abc import Callable

from garbagetruck.cluster.api.gateway import OutcomeUnknown, Overloaded
from garbagetruck.cluster.node.peers.port import OutcomesResponse, PeerHandler, PeerRequest, PeerResponse, failure
from garbagetruck.cluster.node.peers.wire import FRAME_BYTES_MAX
from garbagetruck.cluster.raft.frames import Frame
from garbagetruck.cluster.raft.sessions import Session

ENVELOPE_BYTES_MAX = 1_024
"""What a frame holds beside the outcomes."""


class PeerService:
    """Runs on the node's main loop. `say` says something to a peer; `on_fatal` ends the node when the handler dies of a bug."""

    def __init__(
        self,
        *,
        handler: PeerHandler,
        say: Callable[[Session, Frame], None],
        outstanding_max: int,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._handler = handler
        self._say = say
        self._outstanding_max = outstanding_max
        self._on_fatal = on_fatal
        self._serving: dict[Session, set[asyncio.Task[None]]] = {}

    def hear(self, session: Session, request: PeerRequest) -> None:
        """Begin to do what the request asks."""
        serving = self._serving.setdefault(session, set())
        if len(serving) >= self._outstanding_max:
            error = Overloaded(f"{len(serving)} requests of this node are under way at the leader; nothing was applied")
            self._say(session, failure(request.id, error))
            return
        task = asyncio.get_running_loop().create_task(self._answer(session, request), name="peer-request")
        serving.add(task)
        task.add_done_callback(serving.discard)

    def ended(self, session: Session) -> None:
        """The connection is gone, and with it whoever waits for what was asked over it."""
        for task in self._serving.pop(session, ()):
            task.cancel()

    async def finish(self, timeout_s: float) -> None:
        """Wait until all requests are answered, but no longer than that."""
        under_way = [task for serving in self._serving.values() for task in serving]
        if under_way:
            await asyncio.wait(under_way, timeout=timeout_s)

    async def _answer(self, session: Session, request: PeerRequest) -> None:
        try:
            response = await self._handler.handle(request)
        except Exception as error:  # noqa: BLE001 - operating errors are responses: this is a bug
            self._on_fatal(error)
            session.link.abort()
            return
        self._say(session, _fitting(response))


def _fitting(response: PeerResponse) -> PeerResponse:
    """The response, or why it cannot be told."""
    if isinstance(response, OutcomesResponse) and len(response.outcomes) > FRAME_BYTES_MAX - ENVELOPE_BYTES_MAX:
        message = f"the outcomes are too large to be told ({len(response.outcomes)} bytes); the operations were applied"
        return failure(response.id, OutcomeUnknown(message))
    return response
