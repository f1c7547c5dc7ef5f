"""Incarnations in PostgreSQL, and the fence that rests on their rows.

Invariants: whoever writes holds a lock on its incarnation's row, of a kind that a reservation of a higher one waits for;
and asks after the lock, in a statement of its own, whether there is a higher one. So a write either is done before a
reservation, or is refused after it.
"""

from collections.abc import Sequence

from typing_extensions import override

from garbagetruck.storage import fencing
from garbagetruck.storage.postgres.connections import Connections, Session
from garbagetruck.storage.protocol import IncarnationStorage
from garbagetruck.storage.records import Activity, Incarnation, Reservation, Writer, is_name


class PostgresIncarnations(IncarnationStorage):
    def __init__(self, connections: Connections, cluster_id: str) -> None:
        self._connections = connections
        self._cluster_id = cluster_id

    @override
    async def reserve(self, incarnation: Incarnation, *, by: str) -> None:
        assert is_name(incarnation.id)
        assert incarnation.number >= 1
        cluster_id, number = self._cluster_id, incarnation.number
        async with self._connections.transaction("reserving an incarnation") as session:
            await session.change("cluster_add", cluster_id)
            await session.rows("cluster_lock", cluster_id)
            await session.rows("incarnation_lock_highest", cluster_id)
            reserved_id, highest = await _fence(session, cluster_id, incarnation)
            if fencing.may_reserve(incarnation, reserved_id, highest):
                await session.change("incarnation_insert", cluster_id, number, incarnation.id, by)

    @override
    async def reserved(self) -> Sequence[Reservation]:
        async with self._connections.transaction("listing incarnations") as session:
            rows = await session.rows("incarnation_list", self._cluster_id)
        return [Reservation(Incarnation(row["incarnation"], row["incarnation_id"]), row["reserved_by"]) for row in rows]

    @override
    async def activity(self) -> Activity:
        async with self._connections.transaction("looking for activity") as session:
            row = await session.row("activity", self._cluster_id)
        return Activity(row["mark"], row["written_at_ms"])


async def require_for_snapshot(session: Session, cluster_id: str, incarnation: Incarnation) -> None:
    """Until the transaction ends, none higher is reserved. Raises Fenced."""
    await session.rows("incarnation_lock_for_snapshot", cluster_id, incarnation.number)
    fencing.require_incarnation(incarnation, *await _fence(session, cluster_id, incarnation))


async def require_for_archive(session: Session, cluster_id: str, writer: Writer) -> None:
    """Until the transaction ends, none higher is reserved, and nobody else writes to the archive. Raises Fenced."""
    term = await session.value("incarnation_lock_for_archive", cluster_id, writer.incarnation.number)
    fencing.require_incarnation(writer.incarnation, *await _fence(session, cluster_id, writer.incarnation))
    fencing.require_term(writer, term)


async def _fence(session: Session, cluster_id: str, incarnation: Incarnation) -> tuple[str | None, int]:
    row = await session.row("incarnation_fence", cluster_id, incarnation.number)
    return row["reserved_id"], row["highest"]
