"""What all nodes of the simulation share, beside their log's."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from garbagetruck.chaos.simulator.archiving import Keeping
from garbagetruck.chaos.simulator.network import Network
from garbagetruck.chaos.simulator.store import ObjectStore
from garbagetruck.cluster.machine.machine import Applied
from garbagetruck.cluster.machine.model import Bounds
from garbagetruck.cluster.node.config.settings import ClockSection, QueueSection

if TYPE_CHECKING:
    from garbagetruck.chaos.simulator.nodes import SimulatedNode


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all nodes share, beside their log's."""

    network: Network
    store: ObjectStore
    bounds: Bounds
    clock: ClockSection
    queue: QueueSection
    keeping: Keeping | None
    """The storage outside the nodes, in runs that have one."""
    on_proposed: Callable[[bytes], None]
    on_applied: Callable[["SimulatedNode", Applied], None]
    on_restored: Callable[["SimulatedNode"], None]
