"""Stand-ins for what the executor has around it: a ledger, a handler, a meter, a clock.

Duty: make every turn of the executor visible and steerable. It must not know: how the executor works inside.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import ClassVar

from msgspec.structs import replace
from typing_extensions import override

from garbagetruck.cluster.cleanup.handler import CleanupCall, CleanupResult, Handler, InvalidParametersError
from garbagetruck.cluster.cleanup.ledger import CleanupOperation, Ledger
from garbagetruck.cluster.cleanup.meter import AttemptEnd, NullMeter
from garbagetruck.cluster.machine.brake_operations import OpenBreaker
from garbagetruck.cluster.machine.model import (
    Claim,
    CleanupSpec,
    ReportResult,
    Resource,
    ResourceKey,
    ResourceState,
)
from garbagetruck.cluster.machine.operations import ClaimCleanup, ReportCleanup
from garbagetruck.cluster.machine.outcomes import (
    Acknowledged,
    CleanupClaimed,
    CleanupReported,
    Outcome,
    Reason,
    Refused,
)

CLUSTER_ID = "cluster-1"


class ManualClock:
    """A monotonic clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_000

    def __call__(self) -> int:
        return self.now_ns

    def advance_ms(self, by_ms: int) -> None:
        self.now_ns += by_ms * 1_000_000


def due(
    name: str,
    handler: str = "probe",
    *,
    parameters: Mapping[str, str] | None = None,
    target: str | None = None,
    generation: int = 7,
    namespace: str = "default",
) -> Resource:
    """A resource whose cleanup may be claimed."""
    given = tuple(sorted((parameters or {"name": name}).items()))
    spec = CleanupSpec(handler, given, f"{handler}:/{name}" if target is None else target)
    return Resource(
        namespace=namespace,
        name=name,
        generation=generation,
        state=ResourceState.DUE,
        revision=3,
        cleanup=spec,
        grace_ms=0,
        labels=(),
        leases=(),
        holds=(),
        fencing_token=generation,
        created_ms=1,
        orphaned_ms=2,
        due_ms=3,
        claims=0,
        failures=0,
        claim=None,
        last_error="",
    )


class FakeLedger(Ledger):
    """A machine reduced to due, claimed and reported cleanups, and every proposal that was made."""

    def __init__(self, *resources: Resource) -> None:
        self.due: dict[ResourceKey, Resource] = {(each.namespace, each.name): each for each in resources}
        self.claimed: dict[ResourceKey, Resource] = {}
        self.reports: list[ReportCleanup] = []
        self.proposals: list[tuple[CleanupOperation, ...]] = []
        self.leading = True
        self.now_ms = 1_000
        self.token = 100
        self.before_proposal: Callable[[Sequence[CleanupOperation]], Awaitable[None]] | None = None
        """Awaited first; what it raises, `propose` raises, with nothing applied."""
        self.after_proposal: Callable[[Sequence[CleanupOperation]], Awaitable[None]] | None = None
        """Likewise, with everything applied."""
        self.refusals: deque[Refused] = deque()
        """What the next claims are answered with instead."""
        self.breakers: dict[str, str] = {}
        """Handler -> why its breaker was opened."""
        self.is_trial = False
        """Whether open breakers let a trial through."""
        self.asked: list[str] = []
        """The handlers whose waiting cleanups were asked for."""
        self.looked = 0
        """How many waiting cleanups were looked at."""
        self.reported = asyncio.Event()
        self._work = asyncio.Event()

    @property
    def claims(self) -> list[ClaimCleanup]:
        return [each for operations in self.proposals for each in operations if isinstance(each, ClaimCleanup)]

    def results(self) -> dict[str, list[ReportResult]]:
        found: dict[str, list[ReportResult]] = {}
        for report in self.reports:
            found.setdefault(report.resource, []).append(report.result)
        return found

    def add(self, *resources: Resource) -> None:
        self.due.update({(each.namespace, each.name): each for each in resources})
        self._work.set()

    async def reports_reach(self, count: int, timeout_s: float = 10.0) -> None:
        async with asyncio.timeout(timeout_s):
            while len(self.reports) < count:
                self.reported.clear()
                await self.reported.wait()

    @override
    def cluster_id(self) -> str:
        return CLUSTER_ID

    @override
    def waiting_counts(self) -> Mapping[str, int]:
        return Counter(each.cleanup.handler for each in self.due.values() if each.cleanup is not None)

    @override
    def waiting(self, handler: str) -> Mapping[str, Iterator[Resource]]:
        if handler in self.breakers and not self.is_trial:
            return {}
        found: dict[str, list[Resource]] = {}
        for resource in self.due.values():
            assert resource.cleanup is not None
            if resource.cleanup.handler == handler:
                found.setdefault(resource.namespace, []).append(resource)
        self.asked.append(handler)
        return {namespace: map(self._look, resources) for namespace, resources in found.items()}

    def _look(self, resource: Resource) -> Resource:
        self.looked += 1
        return resource

    @override
    def has_breaker(self, handler: str) -> bool:
        return handler in self.breakers

    @override
    async def propose(self, operations: Sequence[CleanupOperation]) -> Sequence[Outcome]:
        self.proposals.append(tuple(operations))
        if self.before_proposal is not None:
            await self.before_proposal(operations)
        else:
            await asyncio.sleep(0)
        outcomes = [self._apply(each) for each in operations]
        if self.after_proposal is not None:
            await self.after_proposal(operations)
        return outcomes

    def _apply(self, operation: CleanupOperation) -> Outcome:
        match operation:
            case ClaimCleanup():
                key = (operation.namespace, operation.resource)
                if self.refusals:
                    return self.refusals.popleft()
                resource = self.due.pop(key)
                self.token += 1
                claim = Claim(
                    self.token,
                    resource.claims + 1,
                    1,
                    operation.executor,
                    self.now_ms + operation.duration_ms,
                    operation.identity,
                )
                self.claimed[key] = replace(resource, state=ResourceState.CLAIMED, claim=claim)
                return CleanupClaimed(claim.token, claim.attempt, claim.deadline_ms)
            case ReportCleanup():
                key = (operation.namespace, operation.resource)
                claimed = self.claimed.get(key)
                if claimed is None or claimed.claim is None or claimed.claim.token != operation.token:
                    return Refused(Reason.CLAIM_NOT_CURRENT, "the claim is over")
                del self.claimed[key]
                self.reports.append(operation)
                self.reported.set()
                if operation.result is ReportResult.DONE:
                    return CleanupReported(ResourceState.CLEANED, 0)
                if operation.result is ReportResult.FAILED_FOR_GOOD:
                    return CleanupReported(ResourceState.DEAD_LETTER, 0)
                return CleanupReported(ResourceState.DUE, self.now_ms + 60_000)
            case OpenBreaker():
                self.breakers[operation.handler] = operation.reason
                return Acknowledged()

    @override
    def is_leading(self) -> bool:
        return self.leading

    @override
    async def wait_for_work(self) -> None:
        await self._work.wait()
        self._work.clear()

    @override
    def clock_ms(self) -> int:
        return self.now_ms


class ProbeHandler(Handler):
    """Cleans by noting the call; a test may put anything in place of `on_observe` and `on_clean`."""

    scheme: ClassVar[str] = "probe"

    def __init__(self, name: str = "probe") -> None:
        self.name = name
        self.calls: list[CleanupCall] = []
        self.running = 0
        self.running_max = 0
        self.on_observe: Callable[[Mapping[str, str]], Awaitable[str]] | None = None
        self.on_clean: Callable[[CleanupCall], Awaitable[CleanupResult]] | None = None
        self.problems: tuple[str, ...] = ()

    @override
    def check(self) -> Sequence[str]:
        return self.problems

    @override
    def canonical_target(self, parameters: Mapping[str, str]) -> str:
        if "name" not in parameters:
            raise InvalidParametersError("name", "is missing", "name something")
        return f"{self.scheme}:/{parameters['name']}"

    @override
    async def observe(self, parameters: Mapping[str, str]) -> str:
        return f"seen-{parameters['name']}" if self.on_observe is None else await self.on_observe(parameters)

    @override
    async def clean(self, call: CleanupCall) -> CleanupResult:
        self.calls.append(call)
        self.running += 1
        self.running_max = max(self.running_max, self.running)
        try:
            if self.on_clean is not None:
                return await self.on_clean(call)
            await asyncio.sleep(0)
            return CleanupResult.done()
        finally:
            self.running -= 1


class CountingMeter(NullMeter):
    """Remembers everything it is told."""

    def __init__(self) -> None:
        self.ends: list[AttemptEnd] = []
        self.unknown: list[str] = []
        self.refused: list[str] = []
        self.lateness_s: list[float] = []
        self.lost = asyncio.Event()
        self.slots_max = 0

    @override
    def slots_in_use(self, handler: str, slots: int) -> None:
        self.slots_max = max(self.slots_max, slots)

    @override
    def claim_refused(self, handler: str, reason: str) -> None:
        self.refused.append(reason)

    @override
    def attempt_ended(self, handler: str, end: AttemptEnd, duration_s: float) -> None:
        self.ends.append(end)

    @override
    def reclaimed(self, handler: str, lateness_s: float) -> None:
        self.lateness_s.append(lateness_s)

    @override
    def report_lost(self, handler: str) -> None:
        self.lost.set()

    @override
    def handler_unknown(self, handler: str) -> None:
        self.unknown.append(handler)
