"""What the operator decides about cleanups, as typed values.

Duty: hold the settings of the executor and of each registered handler, and read a handler's own options strictly.
Invariants: an unknown option is an error, never ignored; an error names handler and option, says what is right, and
repeats no value, since any value may be a secret.
Must not know: TOML, environment variables and flags: `cluster.node` reads those, once.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from garbagetruck.cluster.cleanup.rates import Rate
from garbagetruck.cluster.machine.model import Bounds

SLOTS_MAX = 1_000
ATTEMPT_TIMEOUT_MS_MIN = 100
ATTEMPT_TIMEOUT_MS_MAX = 600_000
MARGIN_MS = 1_000
ATTEMPTS_MAX = 1_000

_PATH = re.compile(r"(?P<problem>.*?)(?: - at `\$\.?(?P<path>[^`]*)`)?", re.DOTALL)

OptionsT = TypeVar("OptionsT", bound=msgspec.Struct)


class HandlerSettingsError(ValueError):
    """A handler cannot be made from its settings. `option` is the key at fault, "" when it is the handler itself."""

    def __init__(self, handler: str, option: str, problem: str, remedy: str) -> None:
        super().__init__(f"handlers.{handler}{'.' if option else ''}{option}: {problem}; {remedy}")
        self.handler = handler
        self.option = option
        self.problem = problem
        self.remedy = remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerSettings:
    """One handler as the operator registered it."""

    name: str
    """What clients call it."""
    kind: str
    """A built-in kind, or the name of an entry point."""
    options: Mapping[str, object]
    """The handler's own options, secrets in the clear."""
    slots_max: int | None = None
    """Attempts of this handler at once; None: an equal share of the executor's slots."""
    attempt_timeout_ms: int | None = None
    """How long one attempt may take; None: the executor's."""
    attempts_max: int | None = None
    """After how many failed attempts a cleanup becomes a dead letter, if its namespace does not say fewer; None: as its
    namespace says."""
    rate: Rate | None = None
    """How often attempts may begin, on the node that leads; None: whenever there is a slot."""

    def __post_init__(self) -> None:
        if self.slots_max is not None and not 1 <= self.slots_max <= SLOTS_MAX:
            raise HandlerSettingsError(self.name, "slots", "is out of bounds", f"write a number from 1 to {SLOTS_MAX}")
        if self.attempt_timeout_ms is not None and not (
            ATTEMPT_TIMEOUT_MS_MIN <= self.attempt_timeout_ms <= ATTEMPT_TIMEOUT_MS_MAX
        ):
            remedy = f"write a duration from {ATTEMPT_TIMEOUT_MS_MIN} ms to {ATTEMPT_TIMEOUT_MS_MAX} ms"
            raise HandlerSettingsError(self.name, "attempt_timeout", "is out of bounds", remedy)
        if self.attempts_max is not None and not 1 <= self.attempts_max <= ATTEMPTS_MAX:
            remedy = f"write a number from 1 to {ATTEMPTS_MAX}"
            raise HandlerSettingsError(self.name, "attempts", "is out of bounds", remedy)


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSettings:
    """When a handler's breaker opens, and how long it waits between trials."""

    failures_min: int = 10
    """Within the window at least so many attempts failed; 0: it never opens."""
    share: float = 0.5
    """...and more than this share of those that ended."""
    window_ms: int = 60_000
    pause_ms: int = 5_000
    """From its opening to the first trial, in cluster time; twice as long after each trial that fails."""
    pause_ms_max: int = 300_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorSettings:
    """Bounds of the executor. Claims beyond a bound are not proposed; what is due waits its turn."""

    slots_max: int = 64
    """Attempts at once, over all handlers."""
    attempt_timeout_ms: int = 30_000
    """How long an attempt may take, from the proposal of its claim, unless its handler has its own."""
    observe_timeout_ms: int = 10_000
    """How long a target may take to be observed, before its claim is proposed."""
    operations_per_proposal_max: int = 256
    """Claims and reports in one proposal."""
    proposals_in_flight_max: int = 2
    rest_ms: int = 250
    """How long a cleanup is left alone after its claim was refused or lost."""
    resting_max: int = 1_000
    """Cleanups left alone at once; past it nothing is started, for then the cluster takes no claims at all."""
    idle_pause_ms: int = 50
    """How soon news of work is listened to again when all that waits is under way, or cannot be done here."""
    report_retry_ms_min: int = 50
    report_retry_ms_max: int = 1_000
    breaker: BreakerSettings = BreakerSettings()
    cancel_ms_max: int = 5_000
    """How long cancelled attempts may take to stop, before they are left behind with an error in the log."""

    def __post_init__(self) -> None:
        assert Bounds().claim_ms_max >= ATTEMPT_TIMEOUT_MS_MAX + MARGIN_MS, "a claim can stand long enough"
        if not 1 <= self.slots_max <= SLOTS_MAX:
            message = f"slots_max is {self.slots_max}; it must be from 1 to {SLOTS_MAX}"
            raise ValueError(message)
        if not ATTEMPT_TIMEOUT_MS_MIN <= self.attempt_timeout_ms <= ATTEMPT_TIMEOUT_MS_MAX:
            message = (
                f"attempt_timeout_ms is {self.attempt_timeout_ms}; "
                f"it must be from {ATTEMPT_TIMEOUT_MS_MIN} to {ATTEMPT_TIMEOUT_MS_MAX}"
            )
            raise ValueError(message)


def read_options(handler: str, options: Mapping[str, object], into: type[OptionsT]) -> OptionsT:
    """Read a handler's options into its own record, strictly. Raises `HandlerSettingsError`."""
    try:
        return msgspec.convert(dict(options), into)
    except msgspec.ValidationError as error:
        match = _PATH.fullmatch(str(error))
        assert match is not None, "the expression takes any text"
        known = ", ".join(field.encode_name for field in msgspec.structs.fields(into))
        raise HandlerSettingsError(
            handler, match["path"] or "", match["problem"], f"its options are {known}: see docs/handlers.md"
        ) from None
