"""What was refused from the network: counted always, logged once for each cause and peer.

Duty: let an operator see what knocks, without letting who knocks fill a disk. The same cause of the same peer is logged
again, with the number of times in between, once `REPEAT_AFTER_S` have passed.

Invariants: memory is bounded: past `PEERS_MAX` pairs of cause and peer, the others share one line.
"""

from collections import Counter
from collections.abc import Callable

import structlog

REPEAT_AFTER_S = 60
PEERS_MAX = 256
"""Pairs of cause and peer that are told apart."""

_OTHERS = ("several causes", "several peers")
_log = structlog.get_logger(__name__)


class Refusals:
    """Counts by cause; causes are few and fixed."""

    def __init__(self, node_id: str, monotonic_ns: Callable[[], int], *, event: str = "raft_refused") -> None:
        """`event` names the line in the log."""
        self._event = event
        self._node_id = node_id
        self._monotonic_ns = monotonic_ns
        self.counts: Counter[str] = Counter()
        self._logged: dict[tuple[str, str], tuple[int, int]] = {}
        """When it was logged last, and how often it happened since."""

    def refuse(self, cause: str, peer: str, **details: object) -> None:
        """Count, and log unless that was done lately. `peer` is a node id, or the address of a stranger, no port."""
        self.counts[cause] += 1
        key = (cause, peer)
        if key not in self._logged and len(self._logged) >= PEERS_MAX:
            key = _OTHERS
        logged_ns, suppressed = self._logged.get(key, (None, 0))
        now_ns = self._monotonic_ns()
        if logged_ns is not None and now_ns - logged_ns < REPEAT_AFTER_S * 1_000_000_000:
            self._logged[key] = (logged_ns, suppressed + 1)
            return
        self._logged[key] = (now_ns, 0)
        _log.warning(self._event, node=self._node_id, cause=cause, peer=peer, suppressed=suppressed, **details)
