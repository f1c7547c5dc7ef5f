"""One attempt at one cleanup: observe, claim, clean, report.

Duty: take a slot's candidate from observation to a known report.

- The target is derived again from handler and parameters, and must be the committed one: a handler that was configured
  otherwise at the door than here would touch something that no resource owns.
- The deadline counts from *proposing* the claim, on a clock of this process that counts suspend. The claim itself stands
  `MARGIN_MS` longer, from its stamp, which is not before that. So when the next leader may claim, this attempt has
  stopped. (Invariants I1, I5, I8.)
- Before the handler starts, and at each of its own effects through `CleanupCall.may_proceed`, leadership and deadline
  are checked again. A report is no effect: it tells what happened, and the ledger itself knows whether it may be
  proposed; so a leader that cannot prove for a moment that it leads does not withhold it.
- NOT_ATTEMPTED is reported only when the handler was not started.
- What cannot be observed is claimed all the same, and reported as failed: an attempt that nobody sees would never
  become a dead letter. (Invariant I4.)

Must not know: which candidate comes next, how many attempts run.
"""

import asyncio
import enum
import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from garbagetruck.cluster.cleanup.breaker import FailureWatch
from garbagetruck.cluster.cleanup.ending import Ending, as_last, ending_of
from garbagetruck.cluster.cleanup.handler import (
    ABSENT,
    CleanupCall,
    CleanupResult,
    InvalidParametersError,
    ObservationError,
)
from garbagetruck.cluster.cleanup.ledger import Ledger, ProposalError
from garbagetruck.cluster.cleanup.meter import AttemptEnd, CleanupMeter
from garbagetruck.cluster.cleanup.proposals import Proposals
from garbagetruck.cluster.cleanup.registry import HandlerFaultError, HandlerRegistry, Registered
from garbagetruck.cluster.cleanup.settings import MARGIN_MS, ExecutorSettings
from garbagetruck.cluster.machine.model import ReportResult, Resource, ResourceState
from garbagetruck.cluster.machine.operations import ClaimCleanup, ReportCleanup
from garbagetruck.cluster.machine.outcomes import CleanupClaimed, CleanupReported, Outcome, Refused

IDENTITY_CHARACTERS_MAX = 512
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000

_log = structlog.get_logger(__name__)


class Next(enum.Enum):
    """What becomes of the candidate when its attempt has ended."""

    FREE = "free"
    """Nothing: the machine knows all there is to know."""
    REST = "rest"
    """Leave it alone for a while: claiming it went wrong, and would go wrong again at once."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all attempts of an executor share."""

    node_id: str
    ledger: Ledger
    registry: HandlerRegistry
    proposals: Proposals
    settings: ExecutorSettings
    meter: CleanupMeter
    watch: FailureWatch
    monotonic_ns: Callable[[], int]
    random: random.Random


@dataclass(frozen=True, slots=True)
class _Granted:
    """A claim that was committed, and until when what may be done under it; on the monotonic clock."""

    claim: CleanupClaimed
    clean_until_ns: int
    report_until_ns: int


def idempotency_key(cluster_id: str, namespace: str, resource: str, generation: int) -> str:
    """32 hexadecimal characters for one generation of one resource of one cluster."""
    text = "\0".join((cluster_id, namespace, resource, str(generation)))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class Attempt:
    """One attempt; `run` is called once.

    `is_over` tells whether the leadership that it was made under has ended, `leads` whether it goes on and the ledger
    knows it to: both from any thread.
    """

    def __init__(
        self,
        resource: Resource,
        registered: Registered,
        surroundings: Surroundings,
        *,
        leads: Callable[[], bool],
        is_over: Callable[[], bool],
    ) -> None:
        assert resource.cleanup is not None, "what is due has a cleanup"
        self._resource = resource
        self._spec = resource.cleanup
        self._parameters = dict(resource.cleanup.parameters)
        self._registered = registered
        self._around = surroundings
        self._leads = leads
        self._is_over = is_over
        self._open = False
        """Whether the handler may start effects: from its start until it has answered, timed out or been cancelled."""
        timeout_ms = registered.settings.attempt_timeout_ms
        self._timeout_ms = surroundings.settings.attempt_timeout_ms if timeout_ms is None else timeout_ms

    async def run(self) -> Next:
        """Run it to its end. Raises nothing but `CancelledError` and bugs."""
        prepared = await self._prepare()
        if not self._leads():
            return Next.REST
        granted = await self._claim(ABSENT if isinstance(prepared, Ending) else prepared)
        if granted is None:
            return Next.REST
        started_ns = self._around.monotonic_ns()
        counted = seen = AttemptEnd.CANCELLED
        try:
            ending = prepared if isinstance(prepared, Ending) else await self._clean(granted, prepared)
            if not self._is_over():  # or the handler has swallowed its cancellation
                seen = ending.counted  # what it says of the handler, whether or not it was this cleanup's last
                ending = self._as_last(ending)
                counted = ending.counted
                await self._report(granted, ending)
        finally:
            duration_s = (self._around.monotonic_ns() - started_ns) / NS_PER_S
            self._around.meter.attempt_ended(self._spec.handler, counted, duration_s)
            self._around.watch.ended(self._spec.handler, seen)
        return Next.FREE

    def _as_last(self, ending: Ending) -> Ending:
        """As it counts for the cleanup: the handler may have a last attempt. A breaker's trial is none: it asks for the handler."""
        most = self._registered.settings.attempts_max
        if most is None or self._resource.failures + 1 < most or self._around.ledger.has_breaker(self._spec.handler):
            return ending
        return as_last(ending, most)

    # -- before the claim -------------------------------------------------------------------------------------

    async def _prepare(self) -> str | Ending:
        """The target's identity, or how the attempt ends without its handler."""
        unfit = self._verify()
        if unfit is not None:
            return unfit
        try:
            async with asyncio.timeout(self._around.settings.observe_timeout_ms / 1_000):
                identity: object = await self._registered.handler.observe(self._parameters)
        except ObservationError as error:
            return ending_of(CleanupResult.failed(f"not observed: {error}", retryable=error.retryable))
        except Exception as error:  # noqa: BLE001 - anybody's code
            return ending_of(CleanupResult.failed(f"not observed: {error!r}"))
        if isinstance(identity, str) and len(identity) <= IDENTITY_CHARACTERS_MAX and identity.isprintable():
            return identity
        return ending_of(CleanupResult.failed("not observed: the handler gave no valid identity"))

    def _verify(self) -> Ending | None:
        """Whether the committed target is what this node's handler would touch."""
        try:
            target = self._around.registry.canonical_target(self._spec.handler, self._parameters)
        except InvalidParametersError as error:
            refusal = f"this node's handler does not take the parameters: {error}"
            return ending_of(CleanupResult.failed(refusal, retryable=False))
        except HandlerFaultError as error:
            return ending_of(CleanupResult.failed(str(error)))
        if target == self._spec.target:
            return None
        refusal = (
            f"this node's handler would touch {target}, and the cluster committed {self._spec.target}: "
            "configure the handler alike on all nodes, then retry"
        )
        return ending_of(CleanupResult.failed(refusal, retryable=False))

    async def _claim(self, identity: str) -> _Granted | None:
        resource = self._resource
        operation = ClaimCleanup(
            resource.namespace,
            resource.name,
            resource.generation,
            resource.revision,
            self._around.node_id,
            self._timeout_ms + MARGIN_MS,
            identity,
        )
        try:
            answer = await self._around.proposals.submit(operation)
        except ProposalError as error:
            self._around.meter.claim_refused(self._spec.handler, type(error).__name__)
            return None
        match answer.outcome:
            case CleanupClaimed() as claim:
                clean_until_ns = answer.proposed_at_ns + self._timeout_ms * NS_PER_MS
                return _Granted(claim, clean_until_ns, clean_until_ns + MARGIN_MS * NS_PER_MS)
            case Refused(reason=reason):
                self._around.meter.claim_refused(self._spec.handler, reason)
                return None
            case other:
                message = f"a claim was answered with {other!r}"
                raise AssertionError(message)

    # -- under the claim --------------------------------------------------------------------------------------

    async def _clean(self, granted: _Granted, identity: str) -> Ending:
        remaining_s = self._remaining_s(granted.clean_until_ns)
        if remaining_s <= 0 or not self._leads():
            error = "the claim could not be used: committed too late, or leadership could not be proved"
            return Ending(ReportResult.NOT_ATTEMPTED, AttemptEnd.NOT_ATTEMPTED, error)
        call = self._call(granted, identity)
        self._open = True
        limit = asyncio.timeout(remaining_s)
        try:
            async with limit:
                result: object = await self._registered.handler.clean(call)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            result = CleanupResult.failed("the handler cancelled itself")
        except Exception as error:  # noqa: BLE001 - anybody's code
            # A handler may raise TimeoutError of its own, long before its time is over.
            result = CleanupResult.failed(
                f"timed out after {self._timeout_ms} ms" if limit.expired() else f"the handler raised {error!r}"
            )
        finally:
            self._open = False
        if not isinstance(result, CleanupResult):
            result = CleanupResult.failed(f"the handler answered {result!r}")
        return ending_of(result)

    def _call(self, granted: _Granted, identity: str) -> CleanupCall:
        resource = self._resource
        cluster_id = self._around.ledger.cluster_id()
        return CleanupCall(
            cluster_id=cluster_id,
            namespace=resource.namespace,
            resource=resource.name,
            generation=resource.generation,
            parameters=self._parameters,
            target=self._spec.target,
            fencing_token=granted.claim.token,
            idempotency_key=idempotency_key(cluster_id, resource.namespace, resource.name, resource.generation),
            identity=identity,
            attempt=granted.claim.attempt,
            remaining_s=lambda: self._remaining_s(granted.clean_until_ns),
            still_leading=lambda: self._open and self._leads(),
        )

    async def _report(self, granted: _Granted, ending: Ending) -> None:
        outcome = await self._report_outcome(granted, ending)
        match outcome:
            case None:
                self._around.meter.report_lost(self._spec.handler)
                _log.warning("cleanup_report_lost", **self._names(granted))
            case CleanupReported(state=ResourceState.CLEANED):
                lateness_ms = self._around.ledger.clock_ms() - self._resource.due_ms
                self._around.meter.reclaimed(self._spec.handler, lateness_ms / 1_000)
            case CleanupReported(state=state):
                _log.warning("cleanup_failed", **self._names(granted), error=ending.error, state=state.value)
            case Refused(message=message):
                # Either an earlier proposal of this report was applied after all, or the claim is over.
                _log.info("cleanup_report_refused", **self._names(granted), error=message)
            case other:
                message = f"a report was answered with {other!r}"
                raise AssertionError(message)

    async def _report_outcome(self, granted: _Granted, ending: Ending) -> Outcome | None:
        """Propose the report until its outcome is known; None when the claim is over first, which ends it as well."""
        resource, settings = self._resource, self._around.settings
        operation = ReportCleanup(resource.namespace, resource.name, granted.claim.token, ending.result, ending.error)
        delay_ms = settings.report_retry_ms_min
        while True:
            try:
                answer = await self._around.proposals.submit(operation)
            except ProposalError:
                # Half of the delay is drawn, so that many reports do not come back at once.
                delay_s = delay_ms * (1 + self._around.random.random()) / 2_000
                if self._is_over() or self._remaining_s(granted.report_until_ns) <= delay_s:
                    return None
                await asyncio.sleep(delay_s)
                delay_ms = min(2 * delay_ms, settings.report_retry_ms_max)
            else:
                return answer.outcome

    def _remaining_s(self, until_ns: int) -> float:
        return (until_ns - self._around.monotonic_ns()) / NS_PER_S

    def _names(self, granted: _Granted) -> dict[str, object]:
        return {
            "namespace": self._resource.namespace,
            "resource": self._resource.name,
            "handler": self._spec.handler,
            "token": granted.claim.token,
            "attempt": granted.claim.attempt,
        }
