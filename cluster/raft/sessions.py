"""One connection to each peer, and the way there: who connects, is let in, is kept, and is cut off.

Duty: turn links into sessions with members. Everything that does not belong ends here, counted and logged (`refusals`).

Invariants: the first frame of either side is a `Hello`, no longer than `GREETING_BYTES_MAX`, and no other is heard
before it; of two nodes the one with the greater id connects; a peer has at most one session, and a new one ends the
former before anything is heard on it. What waits for a peer is bounded by `outgoing_bytes_max`, and strangers by
`strangers_max`, each for `handshake_ms_max`. A node that is no member and may speak (`Door.listens_to`) is a guest: at most
`GUESTS_MAX` at once.

Threads: that of its loop only.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from garbagetruck.cluster.raft import wire
from garbagetruck.cluster.raft.frames import RAFT, Frame, FrameRefusedError, Language
from garbagetruck.cluster.raft.guard import Carriage
from garbagetruck.cluster.raft.handshake import NO_LONGER, Door
from garbagetruck.cluster.raft.link import Channel
from garbagetruck.cluster.raft.refusals import Refusals
from garbagetruck.cluster.raft.settings import RaftSettings
from garbagetruck.cluster.raft.voter_change import VOTERS_MAX

_NS_PER_MS = 1_000_000

GUESTS_MAX = VOTERS_MAX
"""Past it a guest is refused: there are no more voters than that."""


class Session:
    """One link, from its opening to its end. `peer_id` is None until a stranger has introduced itself."""

    def __init__(self, link: Channel, *, opened_ns: int) -> None:
        self.link = link
        self.peer_id = link.expected
        self.opened_ns = opened_ns
        self.sent_ns = opened_ns
        self.carriage = Carriage()
        self.established = False
        self.hello: wire.Hello | None = None
        """What the peer greeted with."""
        self.counts = True
        """Whether the peer is, on that disk, who it says it is, as far as this node knows yet (`Door.counts`)."""

    @property
    def name(self) -> str:
        """For people: the node, or where it called from."""
        return self.peer_id or self.link.address


class SessionListener(Protocol):
    """Who hears what members say."""

    def on_session(self, session: Session) -> None:
        """A member can be talked to."""

    def on_session_message(self, session: Session, message: Frame) -> None: ...

    def on_session_ended(self, session: Session) -> None: ...


class Sessions:
    """The owner of every link of one node."""

    def __init__(
        self,
        *,
        door: Door,
        settings: RaftSettings,
        refusals: Refusals,
        monotonic_ns: Callable[[], int],
        listener: SessionListener,
        language: Language = RAFT,
    ) -> None:
        self._language = language
        self._door = door
        self._settings = settings
        self._refusals = refusals
        self._monotonic_ns = monotonic_ns
        self._listener = listener
        self._greeting: dict[Channel, Session] = {}
        self._established: dict[str, Session] = {}
        self._by_link: dict[Channel, Session] = {}
        self._met: set[str] = set()
        self._is_closed = False
        self.connected: frozenset[str] = frozenset()
        """Those who can be talked to, and count."""
        self.vacant: dict[str, asyncio.Event] = {}
        """Set while there is neither a session nor an attempt at one: time to connect."""
        self.set_peers(door.peer_ids)

    def set_peers(self, peer_ids: frozenset[str]) -> None:
        """Who may be talked to from now on. Those who may no longer are told so, and cut off."""
        self._door.set_peers(peer_ids)
        for peer_id in self.vacant.keys() - peer_ids:
            del self.vacant[peer_id]
        for peer_id in peer_ids - self.vacant.keys():
            self.vacant[peer_id] = vacancy = asyncio.Event()
            if peer_id not in self._established:  # it was a guest
                vacancy.set()
        for session in [*self._by_link.values()]:
            if session.peer_id is not None and session.peer_id not in peer_ids and not self._may_stay(session):
                self._see_off(session)

    def _may_stay(self, session: Session) -> bool:
        return session.hello is not None and self._door.listens_to(session.hello)

    def _see_off(self, session: Session) -> None:
        self.send(session, wire.Refused(NO_LONGER))
        self._end(session, last_words=True)

    def look_again(self) -> None:
        """It may be another disk now that counts as a peer's. Whose counts no more is cut off, and so is a guest that stays one."""
        for session in [*self._established.values()]:
            assert session.hello is not None
            assert session.peer_id is not None
            if not self._may_stay(session):
                self._see_off(session)
                continue
            counts = self._door.counts(session.hello)
            if counts and not session.counts:
                session.counts = True
                self.connected |= {session.peer_id}
                self._listener.on_session(session)
            elif session.counts and not counts:
                self._refusals.refuse("another disk than before", session.name)
                self._end(session)

    def get(self, peer_id: str) -> Session | None:
        return self._established.get(peer_id)

    def origin_of(self, peer_id: str | None) -> str:
        """Which log a connected peer greeted with; empty for others."""
        session = None if peer_id is None else self._established.get(peer_id)
        return "" if session is None or session.hello is None else session.hello.origin

    def met(self, peer_id: str) -> bool:
        """Whether a session with that peer was made since this was asked last."""
        met = peer_id in self._met
        self._met.discard(peer_id)
        return met

    def send(self, session: Session, message: Frame) -> None:
        """Say it, if the peer reads at all."""
        link = session.link
        session.sent_ns = self._monotonic_ns()
        link.send(message)
        if link.waiting_bytes > self._settings.outgoing_bytes_max:
            self._refusals.refuse("peer does not read", session.name)
            self._end(session)

    def check(self) -> None:
        """Cut off who is too slow to greet or has gone silent, and say something where nothing was said for long.

        To be called at least every `tick_ms`.
        """
        now_ns = self._monotonic_ns()
        settings = self._settings
        for session in [*self._greeting.values()]:
            if now_ns - session.opened_ns >= settings.handshake_ms_max * _NS_PER_MS:
                self._refusals.refuse("greeting too slow", session.name)
                self._end(session)
        for session in [*self._established.values()]:
            if now_ns - session.link.read_ns >= settings.connection_timeout_ms * _NS_PER_MS:
                self._refusals.refuse("peer went silent", session.name)
                self._end(session)
            elif now_ns - session.sent_ns >= settings.keep_alive_ms * _NS_PER_MS:
                self.send(session, wire.Alive())

    def excuse_silence(self) -> None:
        """This process was stopped for a while: what was said meanwhile has not been read yet."""
        now_ns = self._monotonic_ns()
        for session in self._by_link.values():
            session.opened_ns = max(session.opened_ns, now_ns - self._settings.handshake_ms_max * _NS_PER_MS // 2)
            session.link.forgive(now_ns - self._settings.keep_alive_ms * _NS_PER_MS)

    def close(self) -> None:
        """End all of them, and whatever opens from now on."""
        self._is_closed = True
        for session in [*self._by_link.values()]:
            session.link.abort()

    # --- links ------------------------------------------------------------------------------------------------------

    def on_open(self, link: Channel) -> None:
        session = Session(link, opened_ns=self._monotonic_ns())
        if session.peer_id is None and len(self._greeting) >= self._settings.strangers_max:
            self._refusals.refuse("too many strangers", link.address)
            link.abort()
            return
        if self._is_closed or (session.peer_id is not None and session.peer_id not in self.vacant):
            link.abort()  # it was a peer when it was called, or this node was still there
            return
        self._greeting[link] = self._by_link[link] = session
        if session.peer_id is not None:
            self.vacant[session.peer_id].clear()
            self.send(session, self._door.hello(to=session.peer_id))

    def on_message(self, link: Channel, message: Frame) -> None:
        session = self._by_link.get(link)
        if session is None:
            return  # it was ended, and this was on its way
        if not session.established:
            self._on_greeting(session, message)
            return
        match message:
            case wire.Hello():
                self._refusals.refuse("greeting out of place", session.name)
                self._end(session)
            case wire.Refused(reason):
                self._on_refused(session, reason)
            case wire.Alive():
                pass
            case _:
                self._listener.on_session_message(session, message)

    def _on_refused(self, session: Session, reason: str) -> None:
        self._refusals.refuse("refused by peer", session.name, why=reason[:200])
        self._end(session)
        if session.peer_id is not None:
            self._door.hear_refusal(reason, session.peer_id, session.link.names)

    def on_malformed(self, link: Channel, error: FrameRefusedError) -> None:
        session = self._by_link.get(link)
        self._refusals.refuse(error.cause, link.address if session is None else session.name, why=str(error)[:200])

    def on_lost(self, link: Channel) -> None:
        session = self._by_link.get(link)
        if session is not None:
            if not session.established:
                self._refusals.refuse("greeting broken off", session.name)
            self._forget(session)

    def _end(self, session: Session, *, last_words: bool = False) -> None:
        """Nothing more is heard from this session or said on it; `last_words` may still leave."""
        self._forget(session)
        if last_words:
            session.link.close()
        else:
            session.link.abort()

    def _forget(self, session: Session) -> None:
        if self._by_link.pop(session.link, None) is None:
            return
        self._greeting.pop(session.link, None)
        peer_id = session.peer_id
        if peer_id is None:
            return
        if self._established.get(peer_id) is session:
            del self._established[peer_id]
            self.connected -= {peer_id}
            self._listener.on_session_ended(session)
        if not any(each.peer_id == peer_id for each in self._by_link.values()) and peer_id in self.vacant:
            self.vacant[peer_id].set()

    # --- the handshake ----------------------------------------------------------------------------------------------

    def _on_greeting(self, session: Session, message: Frame) -> None:
        match message:
            case wire.Hello():
                reason = self._door.reason_to_refuse(message, session.link.expected, session.link.names)
            case wire.Refused(reason):
                self._on_refused(session, reason)
                return
            case _:
                reason = "no greeting"
        if reason is None and isinstance(message, wire.Hello) and self._is_full(message.node_id):
            reason = "too many guests"
        if reason is not None:
            hello = message if isinstance(message, wire.Hello) else None
            name = hello.node_id if hello is not None and reason == NO_LONGER else session.name
            self._refusals.refuse(reason, name, greeting=hello)
            self.send(session, wire.Refused(reason))
            self._end(session, last_words=True)
            return
        assert isinstance(message, wire.Hello)
        self._establish(session, message)

    def _is_full(self, node_id: str) -> bool:
        guests = self._established.keys() - self.vacant.keys()
        return node_id not in self.vacant and node_id not in guests and len(guests) >= GUESTS_MAX

    def _establish(self, session: Session, hello: wire.Hello) -> None:
        peer_id = hello.node_id
        former = self._established.get(peer_id)
        if former is not None:
            self._end(former)  # what is still in it must not overtake, or be overtaken
        del self._greeting[session.link]
        greet = session.peer_id is None
        session.peer_id, session.hello = peer_id, hello
        session.established = True
        session.link.allow(self._language.frame_bytes_max)
        self._established[peer_id] = session
        if peer_id in self.vacant:
            self._met.add(peer_id)
            self.vacant[peer_id].clear()
        session.counts = self._door.counts(hello)
        if session.counts:
            self.connected |= {peer_id}
        if greet:
            self.send(session, self._door.hello(to=peer_id))
        if self._established.get(peer_id) is session:
            self._listener.on_session(session)
