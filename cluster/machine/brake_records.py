"""The records of the brakes that concern no single namespace: of the whole fleet, and of handlers.

What they mean is in `fleet` and `breakers`. Both need feature level 4.
"""

from garbagetruck.cluster.machine.model import Record


class FleetSettings(Record, frozen=True):
    """When the fleet's brake engages."""

    enabled: bool = True
    holders_min: int = 5
    """It takes at least so many holders..."""
    share: float = 0.5
    """...and more than this share of all."""


class FleetBrake(Record, frozen=True):
    """The fleet's brake, as it is set and as it stands."""

    settings: FleetSettings = FleetSettings()
    revision: int = 1
    engaged: bool = False
    since_ms: int = 0
    reason: str = ""
    known_holders: int = 0
    """How many holders there were when it engaged."""
    checked_ms: int = 0
    """When it was judged last while engaged."""
    cleanups_not_before_ms: int = 0
    """After it was released, orphans get this long for their holders to take them up again."""


class Breaker(Record, frozen=True):
    """The open breaker of a handler."""

    handler: str
    reason: str
    since_ms: int
    trial_ms: int
    """The first stamp at which one cleanup may be claimed, to try."""
    pause_ms: int
    """How long it waits before that trial; the next pause is twice as long."""
    pause_ms_max: int
    trial_token: int = 0
    """The claim that is the trial; 0: none is under way."""
    failed_trials: int = 0
