"""Reading all of it back, for who wants to know today whether it could be restored.

Duty: find damage before it matters. Invariants: nothing is held but one chunk, or one page of entries. Must not know: any
backend. What the chunks say, and the machine's own digest, are for whoever decodes them.
"""

from garbagetruck.storage.protocol import Storage


async def verify_snapshot(storage: Storage, snapshot_id: str) -> int:
    """The bytes that were read and found to be what was written. Raises SnapshotDamaged, SnapshotUnknown, StorageFailed."""
    size_bytes = 0
    async for chunk in storage.snapshots.read(snapshot_id):
        size_bytes += len(chunk)
    return size_bytes


async def verify_archive(storage: Storage, incarnation: int) -> int:
    """The entries of all spans that were read and found to be what was written.

    Raises ArchiveDamaged; EntriesMissing, when it is trimmed meanwhile; StorageFailed.
    """
    entries = 0
    for span in await storage.archive.spans(incarnation):
        async for _ in storage.archive.read(incarnation, span.first_index, span.last_index):
            entries += 1
    return entries
