"""A log that breaks a promise, as stock pysyncobj does: what a deposed leader cannot append any more is appended by
whoever leads next (DESIGN section 6, 16).
"""

from typing import Protocol

from garbagetruck.chaos.simulator.simulation import Simulation
from garbagetruck.cluster.raft.exchange import Exchange, Propose, Request
from garbagetruck.cluster.raft.log import Role


class Planting(Protocol):
    """A `Patch`, or a test's own."""

    def setattr(self, target: object, name: str, value: object) -> None: ...


def let_proposals_stray(patch: Planting) -> list[bytes]:
    """Plant it in all nodes of a simulation; the answer grows with every payload that has strayed."""
    dropped: list[bytes] = []
    strayed: list[bytes] = []
    run, take, between = Simulation.run, Exchange._take, Exchange.between

    def run_afresh(self: Simulation) -> object:
        dropped.clear()
        return run(self)

    def take_or_keep(self: Exchange, request: Request, *log: object) -> None:
        before = self.dropped_proposals
        take(self, request, *log)  # type: ignore[arg-type]  # whatever it is handed
        if isinstance(request, Propose) and self.dropped_proposals > before:
            dropped.append(request.payload)

    def append_strays(self: Exchange, consensus: object, transport: object) -> None:
        while dropped and consensus.role is Role.LEADER:  # type: ignore[attr-defined]  # pysyncobj has no types
            strayed.append(dropped.pop(0))
            consensus.propose(strayed[-1])  # type: ignore[attr-defined]  # likewise
        between(self, consensus, transport)  # type: ignore[arg-type]  # likewise

    patch.setattr(Simulation, "run", run_afresh)
    patch.setattr(Exchange, "_take", take_or_keep)
    patch.setattr(Exchange, "between", append_strays)
    return strayed
