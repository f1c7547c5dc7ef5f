"""Operations on the brakes that concern no single namespace: of the whole fleet, and of handlers.

They stand among the others in `operations`, under whose laws they are.
"""

from typing import ClassVar

from garbagetruck.cluster.machine.brake_records import FleetSettings
from garbagetruck.cluster.machine.entries import Entry


class OpenBreaker(Entry, frozen=True, tag=70):
    """The leader saw that a handler keeps failing: claim nothing of it for `pause_ms`, then try. Level 4."""

    handler: str
    reason: str
    pause_ms: int
    pause_ms_max: int
    """The pause doubles with each trial that fails, up to this."""


class CloseBreaker(Entry, frozen=True, tag=71):
    """An operator has a handler's cleanups go on, whatever its breaker has seen. Level 4."""

    entered_ms: int
    request_id: str
    actor: str
    handler: str
    reason: str
    namespace: ClassVar[str] = ""
    """It concerns the whole cluster."""


class SetFleetBrake(Entry, frozen=True, tag=72):
    """Make the fleet's brake, or change its settings. Level 4."""

    entered_ms: int
    request_id: str
    actor: str
    settings: FleetSettings
    given: tuple[str, ...] = ()
    """Which settings to take; the others mean nothing. None of them: as the leader, which sees that there is a brake."""
    namespace: ClassVar[str] = ""
    """It concerns the whole cluster."""
