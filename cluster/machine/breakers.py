"""Breakers: a handler that keeps failing gets no more cleanups, until one of them has shown that it works again.

A breaker is opened by the leader, which sees how attempts end; what follows is decided here. While it is open, nothing of
its handler is claimed, so that an outage of what is behind a handler makes no dead letters. After a pause one cleanup may be
claimed, as a trial: if it is done, the breaker is gone; if it fails, the pause begins again, twice as long. An operator may
close it sooner.

Laws: while a breaker is open, there is at most one claim that was made under it. Only that claim's end moves it; what had
been claimed before and ends meanwhile tells nothing.
"""

from msgspec.structs import replace

from garbagetruck.cluster.machine.brake_operations import CloseBreaker, OpenBreaker
from garbagetruck.cluster.machine.brake_records import Breaker
from garbagetruck.cluster.machine.model import EventType, ReportResult
from garbagetruck.cluster.machine.outcomes import Acknowledged, Reason, Refused
from garbagetruck.cluster.machine.state import State

BREAKERS_MAX = 1_000
"""Open at once. As many handlers are beyond any configuration; what is past it goes on being tried, as before."""
PAUSE_MS_MIN = 100
PAUSE_MS_MAX = 86_400_000
HANDLER_BYTES_MAX = 64
REASON_BYTES_MAX = 1_024


def open_breaker(state: State, operation: OpenBreaker) -> Acknowledged | Refused:
    """The leader saw a handler fail. One that is open already stays as it is."""
    handler = operation.handler
    if not 0 < len(handler.encode()) <= HANDLER_BYTES_MAX:
        return Refused(Reason.INVALID_ARGUMENT, f"handler: must have from 1 to {HANDLER_BYTES_MAX} bytes", "handler")
    if handler in state.breakers:
        return Acknowledged()
    if len(state.breakers) >= BREAKERS_MAX:
        return Refused(
            Reason.QUOTA_EXCEEDED,
            f"{BREAKERS_MAX} breakers are open, the most there may be",
            metadata=(("limit", "breakers_max"), ("value", str(BREAKERS_MAX))),
        )
    pause_ms = min(max(operation.pause_ms, PAUSE_MS_MIN), PAUSE_MS_MAX)
    pause_ms_max = min(max(operation.pause_ms_max, pause_ms), PAUSE_MS_MAX)
    reason = operation.reason.encode()[:REASON_BYTES_MAX].decode("utf-8", "ignore")
    made = Breaker(handler, reason, state.clock_ms, state.passed_ms(pause_ms), pause_ms, pause_ms_max)
    state.breakers.put(handler, made)
    state.emit(EventType.BREAKER_OPENED, detail=f"handler {handler}: {reason}; a trial in {pause_ms} ms")
    return Acknowledged()


def close_breaker(state: State, operation: CloseBreaker) -> Acknowledged | Refused:
    """An operator has the handler's cleanups go on."""
    if operation.handler not in state.breakers:
        return Refused(Reason.NOT_PAUSED, f"no breaker is open for handler {operation.handler!r}", "handler")
    _close(
        state, operation.handler, f"by {operation.actor or 'an operator'}: {operation.reason}", actor=operation.actor
    )
    return Acknowledged()


def lets_through(state: State, handler: str) -> bool:
    """Whether a cleanup of the handler may be claimed now, be it as a trial."""
    breaker = state.breakers.get(handler)
    return breaker is None or (not breaker.trial_token and breaker.trial_ms <= state.clock_ms)


def refusal(state: State, handler: str) -> Refused | None:
    """Why nothing of the handler may be claimed now; None when something may."""
    breaker = state.breakers.get(handler)
    if breaker is None or lets_through(state, handler):
        return None
    why = f"the breaker of handler {handler!r} is open: {breaker.reason}"
    return Refused(Reason.CLEANUPS_PAUSED, why, retry_after_ms=max(0, breaker.trial_ms - state.clock_ms))


def claimed(state: State, handler: str, token: int) -> None:
    """A claim was made. Under an open breaker it is the trial."""
    breaker = state.breakers.get(handler)
    if breaker is not None:
        state.breakers.put(handler, replace(breaker, trial_token=token))


def ended(state: State, handler: str, token: int, result: ReportResult) -> None:
    """A claim is over. `FAILED` is also what passed its deadline without a report."""
    breaker = state.breakers.get(handler)
    if breaker is None or breaker.trial_token != token:
        return
    if result is ReportResult.DONE:
        _close(state, handler, "the trial was done")
    elif result is ReportResult.FAILED:
        pause_ms = min(2 * breaker.pause_ms, breaker.pause_ms_max)
        changed = replace(
            breaker,
            trial_ms=state.passed_ms(pause_ms),
            pause_ms=pause_ms,
            trial_token=0,
            failed_trials=breaker.failed_trials + 1,
        )
        state.breakers.put(handler, changed)
        failed = f"handler {handler}: trial {changed.failed_trials} failed; another in {pause_ms} ms"
        state.emit(EventType.BREAKER_OPENED, detail=failed)
    else:
        # The handler was not reached, or refused this one cleanup for good: of the others that says nothing.
        state.breakers.put(handler, replace(breaker, trial_token=0))


def _close(state: State, handler: str, why: str, *, actor: str = "") -> None:
    state.breakers.pop(handler)
    state.emit(EventType.BREAKER_CLOSED, holder=actor, detail=f"handler {handler}: {why}")
