"""Checksums of what is stored: 8 bytes for each part, 16 for a whole snapshot.

Duty: notice what was damaged, cut off, swapped or put at another place. They cover the place as well as the bytes. They
are no defence against somebody who writes to the storage on purpose.
"""

import struct

import xxhash

CHECKSUM_BYTES = 8
CONTENT_DIGEST_BYTES = 16

_PLACE = struct.Struct("<QQQ")


def chunk_checksum(snapshot_id: str, number: int, chunk: bytes) -> bytes:
    hasher = xxhash.xxh3_64(snapshot_id.encode())
    hasher.update(number.to_bytes(8, "little"))
    hasher.update(chunk)
    return hasher.digest()


def entry_checksum(incarnation: int, index: int, term: int, payload: bytes) -> bytes:
    hasher = xxhash.xxh3_64(_PLACE.pack(incarnation, index, term))
    hasher.update(payload)
    return hasher.digest()


class ContentDigest:
    """Of all chunks of a snapshot, as they go by."""

    def __init__(self) -> None:
        self._hasher = xxhash.xxh3_128()
        self.chunks = 0
        self.size_bytes = 0

    def add(self, chunk: bytes) -> None:
        self._hasher.update(chunk)
        self.chunks += 1
        self.size_bytes += len(chunk)

    def digest(self) -> bytes:
        return self._hasher.digest()
