"""Tells an operator, in the log, that this node cannot find a majority of its cluster, and what the ways out are.

Duty: notice that for a while no leader was known and too few nodes were connected; say so, again every minute, and say
when it is over. Invariants: it only looks. Must not know: what anybody does about it.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from garbagetruck.cluster.node.clock import NS_PER_MS
from garbagetruck.cluster.raft.log import LogStatus

LOOK_S = 1.0
TOLD_AFTER_MS = 5_000
"""Elections and restarts are over by then."""
TOLD_AGAIN_MS = 60_000

_log = structlog.get_logger(__name__)


class MajorityWatch:
    """Runs on the node's main loop."""

    def __init__(
        self,
        *,
        node_id: str,
        status: Callable[[], LogStatus],
        data_dir: Path,
        monotonic_ns: Callable[[], int],
    ) -> None:
        self._node_id = node_id
        self._status = status
        self._data_dir = data_dir
        self._monotonic_ns = monotonic_ns
        self._alone_since_ns: int | None = None
        self._told_ns: int | None = None

    async def run(self) -> None:
        """Look, for as long as the node serves."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_S)

    def look(self) -> None:
        """Once. To be called every `LOOK_S` or so."""
        now_ns = self._monotonic_ns()
        missing = self._missing()
        if not missing:
            if self._told_ns is not None:
                _log.info("majority_found_again", without_it_ms=self._since(self._alone_since_ns, now_ns))
            self._alone_since_ns = self._told_ns = None
            return
        if self._alone_since_ns is None:
            self._alone_since_ns = now_ns
        told_lately = self._told_ns is not None and self._since(self._told_ns, now_ns) < TOLD_AGAIN_MS
        if self._since(self._alone_since_ns, now_ns) >= TOLD_AFTER_MS and not told_lately:
            self._told_ns = now_ns
            self._tell(missing)

    def _missing(self) -> list[str]:
        """The voters that are not connected, if those that are make no majority and nobody leads; or nobody.

        A node that does not vote says nothing: it waits to be let in, or was removed, and says that elsewhere.
        """
        status = self._status()
        if self._node_id not in status.voters:
            return []
        connected = (status.connected | {self._node_id}) & status.voters
        if status.leader is not None or len(connected) * 2 > len(status.voters):
            return []
        return sorted(status.voters - connected)

    def _tell(self, missing: list[str]) -> None:
        voters = len(self._status().voters)
        needed = voters // 2 + 1
        _log.warning(
            "no_majority",
            not_connected=missing,
            needed=needed,
            of=voters,
            what_to_do=(
                f"start the others with their own data folders: {needed} nodes must be up. Only if so many of their disks"
                f" are gone for good that this cannot be: stop this node, and see `garbagetruck snapshot restore --from"
                f" {self._data_dir}` (docs/disaster-recovery.md). Never bootstrap them: that would be another cluster"
            ),
        )

    @staticmethod
    def _since(began_ns: int | None, now_ns: int) -> int:
        return 0 if began_ns is None else (now_ns - began_ns) // NS_PER_MS
