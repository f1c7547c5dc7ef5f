"""A lease as its holder has it: until when it holds, and how its loss is learnt.

Duty: measure what is left of leases and sessions by this machine's own clock, and announce their loss.
Invariants: a deadline is counted from the moment in which the acknowledged call was *sent*, on a clock that counts
suspend; so it is over here no later than on the cluster. A loss is final: what was once reported as lost never counts
as held again.
It must not know: calls, connections, the API.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from garbagetruck.client.errors import LeaseLost
from garbagetruck.client.records import LeaseState, LeaseSummary
from garbagetruck.client.world import NANOSECONDS_PER_MILLISECOND, NANOSECONDS_PER_SECOND

CLOCK_CHECK_S_MAX = 1.0
"""The loop's timers do not count suspend. Who waits for a deadline looks at the clock at least this often, in
seconds.
"""


class Deadline:
    """Until when something holds. Shared by a session and its leases."""

    __slots__ = ("_boottime_ns", "until_ns")

    def __init__(self, boottime_ns: Callable[[], int], until_ns: int) -> None:
        self._boottime_ns = boottime_ns
        self.until_ns = until_ns
        """By the clock given."""

    @property
    def remaining_ns(self) -> int:
        """What is left, in nanoseconds, never below 0."""
        return max(0, self.until_ns - self._boottime_ns())

    @property
    def remaining_s(self) -> float:
        """What is left, in seconds, never below 0."""
        return self.remaining_ns / NANOSECONDS_PER_SECOND

    def extend(self, sent_ns: int, remaining_ms: int) -> None:
        """Take note of an acknowledged renewal; an older answer that comes late shortens nothing."""
        self.until_ns = max(self.until_ns, sent_ns + remaining_ms * NANOSECONDS_PER_MILLISECOND)

    def move(self, sent_ns: int, remaining_ms: int) -> None:
        """Take note of an acknowledged renewal with another TTL, which may be shorter."""
        self.until_ns = sent_ns + remaining_ms * NANOSECONDS_PER_MILLISECOND


class Lost:
    """Set when a lease or a session is over without its holder having ended it. Awaitable; never set twice, never
    unset.
    """

    __slots__ = ("_deadline", "_event", "_given_back", "_reason")

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._event = asyncio.Event()
        self._given_back = False
        self._reason = ""

    @property
    def reason(self) -> str:
        """Why, in a sentence. Empty while not lost."""
        return self._reason

    def is_set(self) -> bool:
        """Whether it is lost, also by the clock alone."""
        if not self._event.is_set() and not self._given_back and self._deadline.remaining_ns == 0:
            self.set("its time is over, and no renewal was acknowledged")
        return self._event.is_set()

    def set(self, reason: str) -> None:
        """Declare the loss; the first reason stays. What was given back cannot be lost."""
        if not self._given_back and not self._event.is_set():
            self._reason = reason
            self._event.set()

    def give_back(self) -> None:
        """Note that the holder ended it by itself: from now on it cannot be lost, and who waits is never woken."""
        self._given_back = True

    async def wait(self) -> None:
        """Return when it is lost."""
        while not self.is_set():
            within_s = CLOCK_CHECK_S_MAX
            if not self._given_back:
                within_s = min(within_s, self._deadline.remaining_s)
            try:
                async with asyncio.timeout(within_s):
                    await self._event.wait()
            except TimeoutError:
                continue

    def __await__(self) -> Generator[object, None, None]:
        return self.wait().__await__()


class Described:
    """What the cluster says of a lease. Replaced when its session registers it anew, in a later life of the cluster."""

    __slots__ = ("record",)

    def __init__(self, record: LeaseSummary) -> None:
        self.record = record


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class HeldLease:
    """What a lease tells of itself, with and without `await`.

    One that was acquired here knows until when it holds. One that was merely read shows what the cluster said; its
    `remaining` runs down from there, and no read ever prolongs the lease that was acquired.
    """

    described: Described
    deadline: Deadline
    """Until when it holds, by this machine's clock."""

    @property
    def record(self) -> LeaseSummary:
        """As the cluster last described it."""
        return self.described.record

    @property
    def id(self) -> str:
        """Unguessable. Another one after its session has registered it anew (`Session.registered_anew`)."""
        return self.record.id

    @property
    def namespace(self) -> str:
        return self.record.namespace

    @property
    def resource(self) -> str:
        return self.record.resource

    @property
    def holder(self) -> str:
        return self.record.holder

    @property
    def fencing_token(self) -> int:
        """Above that of every lease before it, below 2^53. Stamp with it what you make.

        A higher one after its session has registered it anew.
        """
        return self.record.fencing_token

    @property
    def ttl(self) -> float:
        """How long it lives after a renewal, in seconds, as of when it was acquired or read."""
        return self.record.ttl_ms / 1_000

    @property
    def remaining(self) -> float:
        """What is left, in seconds; 0 when over."""
        if self.record.state is not LeaseState.ACTIVE:
            return 0.0
        return self.deadline.remaining_s

    @property
    def session_id(self) -> str:
        """The session that keeps it. Empty: it stands alone."""
        return self.record.session_id

    @property
    def state(self) -> LeaseState:
        """As of when it was acquired or read."""
        return self.record.state

    @property
    def labels(self) -> Mapping[str, str]:
        return self.record.labels


@dataclass(frozen=True, slots=True, eq=False)
class Lease(HeldLease):
    """A claim on a resource, and how its loss is learnt."""

    lost: Lost
    """Set when it is over without having been released here. `await lease.lost` waits for it."""

    @asynccontextmanager
    async def guard(self) -> AsyncIterator[None]:
        """Cancel the body as soon as the lease is lost, and raise `LeaseLost` in its place."""
        scope = asyncio.timeout(None)
        try:
            async with scope:
                watcher = asyncio.create_task(_expire_when_lost(scope, self.lost))
                try:
                    yield
                finally:
                    watcher.cancel()
                    await asyncio.wait([watcher])
        except TimeoutError as expired:
            if not scope.expired():
                raise
            raise self.loss() from expired

    def loss(self) -> LeaseLost:
        """The exception that tells of this lease's loss."""
        text = f"the lease on {self.resource!r} is lost: {self.lost.reason}"
        return LeaseLost(text, metadata={"lease_id": self.id, "resource": self.resource})


async def _expire_when_lost(scope: asyncio.Timeout, lost: Lost) -> None:
    await lost.wait()
    scope.reschedule(asyncio.get_running_loop().time())
