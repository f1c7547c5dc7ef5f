"""A snapshot that comes from the leader, to a node that is too far behind its log.

Duty: write what comes to a file, in order; verify all of it when it is complete; say when it is durable and may be
installed (hazards 7 and 18).

Invariants: one snapshot at a time; parts of two are never mixed, nor is any part written twice; nothing of it is believed
before all of it was verified, and nothing is reported before it is durable under its name.

Threads: the Raft thread; files are written in the background.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from zlib import crc32

import structlog

from garbagetruck.cluster.raft.errors import SnapshotDamaged, SnapshotTooNew, StorageRefused
from garbagetruck.cluster.raft.refusals import Refusals
from garbagetruck.cluster.raft.snapshots.format import HEADER_BYTES, SnapshotHeader
from garbagetruck.cluster.raft.snapshots.port import Background, Beginning, Restored
from garbagetruck.cluster.raft.snapshots.store import SnapshotReceipt, SnapshotStore
from garbagetruck.cluster.raft.wire import SnapshotChunk, SnapshotOffer

SNAPSHOT_BYTES_MAX = 64 * 1024**3
"""A snapshot that is offered as larger is refused."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Incoming:
    """What is coming in. `received` bytes of it are in the file."""

    offer: SnapshotOffer
    receipt: SnapshotReceipt | None = None
    received: int = 0
    writing: bool = False

    @property
    def complete(self) -> bool:
        return self.received == self.offer.size_bytes


class Receiver:
    """`on_ready` is called with a snapshot that is verified, and durable as this node's newest."""

    def __init__(
        self,
        *,
        store: SnapshotStore,
        background: Background,
        decode: Callable[[Iterator[bytes]], object],
        refusals: Refusals,
        on_ready: Callable[[Beginning], None],
    ) -> None:
        self._store = store
        self._background = background
        self._decode = decode
        self._refusals = refusals
        self._on_ready = on_ready
        self._incoming: _Incoming | None = None
        self.unfit: dict[str, str] = {}
        """Why the snapshot that was last found damaged was, by its id."""

    def offered(self, offer: SnapshotOffer) -> int | None:
        """The offset from which on the snapshot is wanted; None when nothing is, at present."""
        incoming = self._incoming
        if incoming is not None and incoming.offer.snapshot_id != offer.snapshot_id:
            if incoming.writing or incoming.complete:
                return None  # it is on its way to the disk; then the other may begin
            self._drop(incoming)
            incoming = None
        if incoming is None:
            if not HEADER_BYTES < offer.size_bytes <= SNAPSHOT_BYTES_MAX:
                return None
            incoming = self._incoming = _Incoming(offer)
            _log.info("snapshot_coming", index=offer.index, bytes=offer.size_bytes, snapshot=offer.snapshot_id)
        return None if incoming.writing or incoming.complete else incoming.received

    def take(self, peer_id: str, chunk: SnapshotChunk, on_written: Callable[[int], None]) -> None:
        """Write a part, and call `on_written` with the offset that is wanted next, if any is."""
        incoming = self._incoming
        if (
            incoming is None
            or incoming.writing
            or (chunk.snapshot_id, chunk.offset) != (incoming.offer.snapshot_id, incoming.received)
            or chunk.offset + len(chunk.content) > incoming.offer.size_bytes
        ):
            self._refusals.counts["stale part of a snapshot"] += 1  # no news after a connection broke
            return
        if crc32(chunk.content) != chunk.checksum:
            self._refusals.refuse("damaged part of a snapshot", peer_id, offset=chunk.offset)
            return
        incoming.writing = True

        def write() -> SnapshotReceipt:
            receipt = incoming.receipt or self._store.receive(incoming.offer.snapshot_id)
            receipt.write(chunk.content, chunk.offset)
            return receipt

        def written(receipt: SnapshotReceipt) -> None:
            incoming.receipt, incoming.writing = receipt, False
            incoming.received += len(chunk.content)
            if incoming.complete:
                self._finish(incoming, receipt)
            else:
                on_written(incoming.received)

        self._background(write, written)

    def _finish(self, incoming: _Incoming, receipt: SnapshotReceipt) -> None:
        offer = incoming.offer

        def finish() -> tuple[SnapshotHeader, object] | StorageRefused | None:
            try:
                return receipt.finish(self._decode, expected=(offer.snapshot_id, offer.index))
            except SnapshotTooNew:
                raise  # the leader has no other that this node could read: it ends, and says which it would need
            except StorageRefused as error:
                return error

        def finished(outcome: tuple[SnapshotHeader, object] | StorageRefused | None) -> None:
            self._incoming = None
            if isinstance(outcome, StorageRefused):
                why = outcome.reason if isinstance(outcome, SnapshotDamaged) else str(outcome)
                self.unfit = {offer.snapshot_id: why}
                _log.error("snapshot_unfit", snapshot=offer.snapshot_id, index=offer.index, reason=why)
            elif outcome is not None:
                header, state = outcome
                self._on_ready(Beginning(Restored(header.index, state), header))

        self._background(finish, finished)

    def _drop(self, incoming: _Incoming) -> None:
        self._incoming = None
        receipt = incoming.receipt
        if receipt is not None:
            self._background(receipt.abandon, lambda _: None)
