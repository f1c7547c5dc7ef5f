"""What every fault is.

Duty: the shape. A fault is used once: `unavailable`, then `inject`, then `heal`.
Invariants: `proof` is what was seen of the fault's effect, never that it was asked for; empty when nothing was seen.
"""

from abc import ABC, abstractmethod

from garbagetruck.chaos.processes.cluster import Cluster


class Fault(ABC):
    """One disturbance of a cluster. Everything runs on the cluster's loop."""

    name: str

    def unavailable(self, cluster: Cluster) -> str:
        """Why it cannot be injected here; empty when it can."""
        del cluster
        return ""

    @abstractmethod
    async def inject(self, cluster: Cluster) -> None: ...

    @abstractmethod
    async def heal(self, cluster: Cluster) -> None: ...

    @property
    @abstractmethod
    def proof(self) -> str:
        """What shows that it bit; final after `heal`."""

    @property
    def cut_off(self) -> tuple[str, ...]:
        """Nodes that run, and can reach no majority while it lasts."""
        return ()
