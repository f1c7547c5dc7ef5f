"""What a node keeps outside the nodes, for tests of the API: no storage, and no other nodes."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any

from garbagetruck.cluster.api.snapshots import SnapshotRecord, UnknownSnapshot, Verified
from garbagetruck.cluster.machine.model import Member


class Outside:
    """What n1 keeps outside the nodes: as many snapshots as it is told."""

    def __init__(self) -> None:
        self.kept: list[SnapshotRecord] = []
        self.failure: Exception | None = None
        """Raised by everything while set."""
        self.asked: list[tuple[str, str]] = []
        """For whose snapshot, under which request id."""
        self.damaged: set[str] = set()

    def keep(self, number: int, **changes: Any) -> SnapshotRecord:
        record = SnapshotRecord(
            id=f"s{number}",
            node_id="n1",
            applied_index=number,
            term=1,
            clock_ms=1_000,
            incarnation=1,
            size_bytes=2_000,
            chunks=2,
            digest=f"{number:016x}",
            format=1,
            taken_at_ms=1_700_000_000_000,
            location="a folder",
        )
        self.kept.append(replace(record, **changes))
        return self.kept[-1]

    async def create(self, member: Member | None, request_id: str, *, timeout_s: float) -> SnapshotRecord:
        assert timeout_s > 0
        if self.failure is not None:
            raise self.failure
        name = "n1" if member is None else member.id
        self.asked.append((name, request_id))
        return self.keep(len(self.kept) + 1, node_id=name)

    async def list(self) -> Sequence[SnapshotRecord]:
        if self.failure is not None:
            raise self.failure
        return self.kept

    async def verify(self, snapshot_id: str) -> AsyncGenerator[Verified, None]:
        if self.failure is not None:
            raise self.failure
        found = next((each for each in self.kept if each.id == snapshot_id), None)
        if found is None:
            raise UnknownSnapshot(f"no snapshot {snapshot_id!r}")
        yield Verified(found, 0, 0)
        yield Verified(found, 1, 1_000)
        if snapshot_id in self.damaged:
            yield Verified(found, 1, 1_000, is_done=True, damage="chunk 1 is not what was written")
        else:
            yield Verified(found, 2, 2_000, is_done=True)
