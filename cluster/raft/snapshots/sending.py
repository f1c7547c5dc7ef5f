"""The newest snapshot, to followers that need entries which the log has no more.

Duty: offer it until it was taken; send the parts that are asked for, one at a time, so that what waits for a slow peer is
one part.

Invariants: all parts are of one file, which is read even when it is deleted meanwhile; what goes on where it stopped,
after a connection broke, is the same snapshot.

Threads: the Raft thread; files are read in the background.
"""

from collections.abc import Callable
from dataclasses import dataclass
from zlib import crc32

import structlog

from garbagetruck.cluster.raft.disk import DiskFile
from garbagetruck.cluster.raft.journal.segments import telling
from garbagetruck.cluster.raft.snapshots.format import SnapshotHeader
from garbagetruck.cluster.raft.snapshots.port import Background
from garbagetruck.cluster.raft.snapshots.store import SnapshotStore
from garbagetruck.cluster.raft.wire import Message, SnapshotChunk, SnapshotOffer, SnapshotWanted

CHUNK_BYTES = 512 * 1024
"""Of the file, in one message."""

RESEND_NS = 1_000_000_000
"""A part that was asked for again is sent again after this long, and not before: it may be on its way."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class _Sending:
    """What one follower is getting. `header` and `file` are None until it was opened."""

    header: SnapshotHeader | None = None
    file: DiskFile | None = None
    size_bytes: int = 0
    offered_ns: int = 0
    sent: tuple[int, int] | None = None
    """(offset, when) of the last part."""
    is_unfit: bool = False


class Sender:
    """`say` sends a message to a peer. `covers` says whether the log goes on from an index of a term."""

    def __init__(
        self,
        *,
        store: SnapshotStore,
        background: Background,
        say: Callable[[str, Message], None],
        covers: Callable[[int, int], bool],
        offer_interval_ns: int,
        monotonic_ns: Callable[[], int],
    ) -> None:
        self._store = store
        self._background = background
        self._say = say
        self._covers = covers
        self._offer_interval_ns = offer_interval_ns
        self._monotonic_ns = monotonic_ns
        self._sendings: dict[str, _Sending] = {}

    @property
    def peers(self) -> frozenset[str]:
        """Who is getting a snapshot."""
        return frozenset(self._sendings)

    def index_for(self, peer_id: str) -> int | None:
        """What the peer has when it has got its snapshot."""
        sending = self._sendings.get(peer_id)
        return None if sending is None or sending.header is None else sending.header.index

    def begin(self, peer_id: str) -> None:
        """Offer the newest to a peer from now on."""
        if peer_id not in self._sendings:
            sending = self._sendings[peer_id] = _Sending()
            self._background(self._store.open_newest, lambda opened: self._opened(peer_id, sending, *opened))

    def _opened(self, peer_id: str, sending: _Sending, header: SnapshotHeader, file: DiskFile) -> None:
        if self._sendings.get(peer_id) is not sending:
            self._background(file.close, lambda _: None)
            return
        sending.header, sending.file, sending.size_bytes = header, file, file.size()
        _log.info("snapshot_sending", to=peer_id, index=header.index, bytes=sending.size_bytes)

    def stop(self, peer_id: str) -> None:
        """It was taken, or there is nobody to send it to."""
        sending = self._sendings.pop(peer_id, None)
        if sending is not None and sending.file is not None:
            self._background(sending.file.close, lambda _: None)

    def turn(self, term: int) -> None:
        """Offer, as often as a leader sends heartbeats. To be called in every turn."""
        now_ns = self._monotonic_ns()
        for peer_id, sending in [*self._sendings.items()]:
            header = sending.header
            if header is None or now_ns - sending.offered_ns < self._offer_interval_ns:
                continue
            newest = self._store.newest
            is_past = not self._covers(header.index, header.term)
            if newest is not None and newest.snapshot_id != header.snapshot_id and (is_past or sending.is_unfit):
                self.stop(peer_id)
                self.begin(peer_id)
                continue
            sending.offered_ns = now_ns
            self._say(peer_id, SnapshotOffer(term, header.snapshot_id, header.index, sending.size_bytes))

    def wanted(self, peer_id: str, message: SnapshotWanted, term: int) -> None:
        """Send the part that is asked for, unless that was done lately."""
        sending = self._sendings.get(peer_id)
        if sending is None or sending.header is None or sending.header.snapshot_id != message.snapshot_id:
            return
        offset, now_ns = message.offset, self._monotonic_ns()
        length = min(CHUNK_BYTES, sending.size_bytes - offset)
        on_its_way = sending.sent is not None and sending.sent[0] == offset and now_ns - sending.sent[1] < RESEND_NS
        if length <= 0 or on_its_way:
            return
        sending.sent = (offset, now_ns)
        file = sending.file
        assert file is not None

        def read() -> bytes:
            with telling("reading", file.path):
                return file.read(length, offset)

        def send(content: bytes) -> None:
            if self._sendings.get(peer_id) is sending and content:
                self._say(peer_id, SnapshotChunk(term, message.snapshot_id, offset, crc32(content), content))

        self._background(read, send)

    def unfit(self, peer_id: str, snapshot_id: str) -> bool:
        """A peer found the snapshot damaged; whether it is this node's newest, so that another must be taken."""
        sending = self._sendings.get(peer_id)
        if sending is None or sending.header is None or sending.header.snapshot_id != snapshot_id:
            return False
        sending.is_unfit = True
        return self._store.newest is not None and self._store.newest.snapshot_id == snapshot_id
