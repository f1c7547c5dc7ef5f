"""The leader's executor: claims what is due for free slots, and runs the attempts.

Duty: while this node leads, keep the slots filled with candidates; stop at once when it does not.
Invariants: never more attempts than slots, over all and for each handler, nor begun faster than a handler's rate; one
attempt for a resource at a time; what waits
is looked at in turn (`turns`), and no further than it is started, so that a backlog costs nothing; a cleanup whose handler
is not registered here is never claimed nor looked at, and its handler told of once; nothing is claimed and no effect
begins after `stopped_leading`. (Invariants I1, I4, I8.)
Must not know: what an attempt does, how claims are replicated.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import structlog

from garbagetruck.cluster.cleanup.attempt import Attempt, Next, Surroundings
from garbagetruck.cluster.cleanup.breaker import FailureWatch
from garbagetruck.cluster.cleanup.ledger import Ledger, ProposalError
from garbagetruck.cluster.cleanup.meter import CleanupMeter, NullMeter
from garbagetruck.cluster.cleanup.proposals import Proposals
from garbagetruck.cluster.cleanup.rates import Rates
from garbagetruck.cluster.cleanup.registry import HandlerRegistry
from garbagetruck.cluster.cleanup.settings import ExecutorSettings
from garbagetruck.cluster.cleanup.slots import Slots
from garbagetruck.cluster.cleanup.turns import Turns
from garbagetruck.cluster.machine.brake_operations import OpenBreaker
from garbagetruck.cluster.machine.model import Resource, ResourceKey
from garbagetruck.cluster.machine.pages import in_turn

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Leadership:
    """One time of leading, from its beginning to its end."""

    epoch: int
    over: bool = False
    draining: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    idle: bool = False
    """Something waits, and the last look at it started nothing."""
    unknown_handlers: set[str] = field(default_factory=set)
    """Those that were told of."""
    loops: set[asyncio.Task[None]] = field(default_factory=set)
    opening: set[str] = field(default_factory=set)
    """Handlers whose breakers are being opened."""
    attempts: set[asyncio.Task[Next]] = field(default_factory=set)


class CleanupExecutor:
    """Runs on the node's main loop. The registry is started before the first leadership, and stopped after `stop`.

    `node_id` names the executor in claims. `monotonic_ns` counts suspend (`CLOCK_BOOTTIME`), for a claim's deadline
    goes on while the machine sleeps. `on_fatal` ends the node when the executor meets a bug of its own; it may be called
    more than once.
    """

    def __init__(
        self,
        *,
        node_id: str,
        ledger: Ledger,
        registry: HandlerRegistry,
        settings: ExecutorSettings,
        monotonic_ns: Callable[[], int],
        random: random.Random,
        on_fatal: Callable[[BaseException], None],
        meter: CleanupMeter | None = None,
    ) -> None:
        self._ledger = ledger
        self._registry = registry
        self._settings = settings
        self._on_fatal = on_fatal
        self._meter = meter or NullMeter()
        self._proposals = Proposals(
            ledger.propose,
            monotonic_ns=monotonic_ns,
            operations_max=settings.operations_per_proposal_max,
            in_flight_max=settings.proposals_in_flight_max,
        )
        self._watch = FailureWatch(settings.breaker, monotonic_ns)
        self._surroundings = Surroundings(
            node_id, ledger, registry, self._proposals, settings, self._meter, self._watch, monotonic_ns, random
        )
        limits = {name: each.settings for name in registry.names if (each := registry.find(name)) is not None}
        self._known = frozenset(registry.names)
        self._slots = Slots(settings.slots_max, {name: each.slots_max for name, each in limits.items()})
        self._rates = Rates({name: each.rate for name, each in limits.items()}, monotonic_ns)
        self._turns = Turns()
        self._busy: set[ResourceKey] = set()
        """Resources that have an attempt, or rest after one."""
        self._resting: dict[ResourceKey, asyncio.TimerHandle] = {}
        self._leadership: _Leadership | None = None
        self._ending: set[asyncio.Task[Next] | asyncio.Task[None]] = set()
        """Tasks of leaderships that are over, as long as they take to end."""

    @property
    def unknown_handlers(self) -> Mapping[str, int]:
        """While this node leads: handlers that cleanups wait for and that it does not have, with how many wait."""
        if self._leadership is None:
            return {}
        return {name: count for name, count in self._ledger.waiting_counts().items() if name not in self._known}

    @property
    def running(self) -> int:
        """How many attempts run now, those being cancelled included."""
        return len(self._ending) + (len(self._leadership.attempts) if self._leadership is not None else 0)

    def started_leading(self, epoch: int) -> None:
        """Claim and clean from now on. Does not block or await."""
        assert self._leadership is None, "one leadership at a time"
        leadership = self._leadership = _Leadership(epoch)
        self._watch.forget()
        for loop in (self._dispatch(leadership), self._listen(leadership)):
            task = asyncio.get_running_loop().create_task(loop)
            leadership.loops.add(task)
            task.add_done_callback(self._see)

    def stopped_leading(self, epoch: int) -> None:
        """Stop at once: no effect begins after this call. Does not block or await. Idempotent."""
        del epoch
        leadership, self._leadership = self._leadership, None
        if leadership is None:
            return
        leadership.over = True
        tasks: tuple[asyncio.Task[Next] | asyncio.Task[None], ...] = (*leadership.loops, *leadership.attempts)
        for task in tasks:
            task.cancel()
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
        for key, timer in self._resting.items():
            timer.cancel()
            self._busy.discard(key)
        self._resting.clear()

    async def drain(self, timeout_s: float) -> bool:
        """Claim nothing more in this leadership, and let attempts end. False when some run on after `timeout_s`."""
        leadership = self._leadership
        if leadership is None:
            return True
        leadership.draining = True
        if not leadership.attempts:
            return True
        _, running = await asyncio.wait(leadership.attempts, timeout=timeout_s)
        return not running

    async def stop(self) -> None:
        """Stop leading, and wait until everything that ran has ended. Idempotent."""
        if self._leadership is not None:
            self.stopped_leading(self._leadership.epoch)
        await self._proposals.stop()
        if self._ending:
            _, running = await asyncio.wait(self._ending, timeout=self._settings.cancel_ms_max / 1_000)
            if running:
                _log.error("cleanup_attempts_ignore_cancellation", attempts=len(running))

    # -- dispatch ---------------------------------------------------------------------------------------------

    async def _listen(self, leadership: _Leadership) -> None:
        while True:
            if leadership.idle:
                await asyncio.sleep(self._settings.idle_pause_ms / 1_000)
            await self._ledger.wait_for_work()
            leadership.wake.set()

    async def _dispatch(self, leadership: _Leadership) -> None:
        while True:
            leadership.wake.clear()
            self._fill(leadership)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._rates.wait_s()):
                    await leadership.wake.wait()

    def _fill(self, leadership: _Leadership) -> None:
        """Start attempts for what waits, in turn, while there are slots. Looks at no backlog but what it starts."""
        leadership.idle = False
        if leadership.over or leadership.draining or not self._ledger.is_leading():
            return
        self._tell_of_unknown(leadership)
        if not self._slots.free or len(self._resting) >= self._settings.resting_max:
            return
        handlers = self._turns.handlers(filter(self._may_begin, self._registry.names))
        started = 0
        for resource in in_turn(self._waiting(handler) for handler in handlers):
            started += self._start(leadership, resource)
            if not self._slots.free:
                break
        leadership.idle = not started and bool(self._ledger.waiting_counts())

    def _waiting(self, handler: str) -> Iterator[Resource]:
        """What waits for one handler and is not busy, as long as it may start one more."""
        found = self._turns.order(handler, self._ledger.waiting(handler), lambda: self._has_room(handler))
        return (each for each in found if (each.namespace, each.name) not in self._busy)

    def _has_room(self, handler: str) -> bool:
        """Under an open breaker there is room for one, to try, once all others have ended."""
        tried = self._slots.in_use(handler) > 0 and self._ledger.has_breaker(handler)
        return self._may_begin(handler) and not tried

    def _may_begin(self, handler: str) -> bool:
        return self._slots.has_room(handler) and self._rates.may(handler)

    def _tell_of_unknown(self, leadership: _Leadership) -> None:
        """Note what waits for handlers that are not registered here. They are never asked for what waits."""
        found = self.unknown_handlers
        for handler in found.keys() - leadership.unknown_handlers:
            leadership.unknown_handlers.add(handler)
            self._meter.handler_unknown(handler)
            _log.error(
                "cleanup_handler_unknown",
                handler=handler,
                cleanups=found[handler],
                remedy="register it on this node, or let a node lead that has it; no attempt is used up",
            )

    def _start(self, leadership: _Leadership, resource: Resource) -> bool:
        """Start an attempt for what waits. False when its handler has no slot for it after all."""
        assert resource.cleanup is not None, "what is due has a cleanup"
        handler = resource.cleanup.handler
        registered = self._registry.find(handler)
        assert registered is not None, "only registered handlers are asked for"
        if not self._rates.may(handler) or not self._slots.take(handler):
            return False
        self._rates.take(handler)
        key = (resource.namespace, resource.name)
        self._busy.add(key)
        self._turns.began(handler, resource.namespace)
        self._meter.slots_in_use(handler, self._slots.in_use(handler))
        attempt = Attempt(
            resource,
            registered,
            self._surroundings,
            leads=lambda: not leadership.over and self._ledger.is_leading(),
            is_over=lambda: leadership.over,
        )
        task = asyncio.get_running_loop().create_task(attempt.run())
        leadership.attempts.add(task)
        task.add_done_callback(lambda ended: self._attempt_ended(leadership, key, handler, ended))
        return True

    # -- ends -------------------------------------------------------------------------------------------------

    def _attempt_ended(self, leadership: _Leadership, key: ResourceKey, handler: str, task: asyncio.Task[Next]) -> None:
        leadership.attempts.discard(task)
        self._slots.give_back(handler)
        self._turns.ended(handler, key[0])
        self._meter.slots_in_use(handler, self._slots.in_use(handler))
        rests = not leadership.over and not task.cancelled() and task.exception() is None and task.result() is Next.REST
        if rests:
            rest_s = self._settings.rest_ms / 1_000
            self._resting[key] = asyncio.get_running_loop().call_later(rest_s, self._rested, key)
        else:
            self._busy.discard(key)
        self._see(task)
        self._judge(handler)
        self._wake()

    def _judge(self, handler: str) -> None:
        """Have the handler's breaker opened, if it fails too often."""
        if self._ledger.has_breaker(handler):
            self._watch.forget(handler)  # or what failed under it would open it again when a trial has closed it
            return
        leadership, why = self._leadership, self._watch.verdict(handler)
        if leadership is None or why is None or handler in leadership.opening:
            return
        leadership.opening.add(handler)
        task = asyncio.get_running_loop().create_task(self._open_breaker(leadership, handler, why))
        leadership.loops.add(task)
        task.add_done_callback(leadership.loops.discard)
        task.add_done_callback(self._see)

    async def _open_breaker(self, leadership: _Leadership, handler: str, why: str) -> None:
        settings = self._settings.breaker
        operation = OpenBreaker(handler, why, settings.pause_ms, settings.pause_ms_max)
        try:
            await self._ledger.propose((operation,))
        except ProposalError as error:
            _log.info("cleanup_breaker_not_opened", handler=handler, why=why, error=str(error))
        else:
            _log.error("cleanup_breaker_opened", handler=handler, why=why, pause_ms=settings.pause_ms)
            self._watch.forget(handler)
        finally:
            leadership.opening.discard(handler)

    def _rested(self, key: ResourceKey) -> None:
        del self._resting[key]
        self._busy.discard(key)
        self._wake()

    def _wake(self) -> None:
        if self._leadership is not None:
            self._leadership.wake.set()

    def _see(self, task: asyncio.Task[Next] | asyncio.Task[None]) -> None:
        """An attempt or a loop that raised is a bug: stop everything, and let the node end."""
        if not task.cancelled() and (error := task.exception()) is not None:
            if self._leadership is not None:
                self.stopped_leading(self._leadership.epoch)
            self._on_fatal(error)
