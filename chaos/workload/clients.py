"""Seeded services that lease, write, renew, release, repeat themselves and die.

Duty: one habit after the other, drawn from a seed, until told to stop.
Invariants: a client writes an object only under a lease that it may rely on, and repeats a call whose outcome it does not
know under the same request id.
Must not know: which node leads, what faults there are, what is right.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from garbagetruck.chaos.history import NS_PER_MS, Attempt, Outcome
from garbagetruck.chaos.workload.caller import Around, Caller
from garbagetruck.chaos.workload.many import Renewed, renew_batch, stream
from garbagetruck.chaos.workload.shelf import Shelf
from garbagetruck.v1 import cleanup_spec_pb2

TTLS_MS = (1_500, 2_000, 3_000)
LONG_TTL_MS = 600_000
"""Of leases that must outlast every fault without a renewal."""
LONG_LIVED_MAX = 20
"""Such leases of one client; then it releases the oldest, so that a long run holds no more than a short one."""
SHARED_KEYS = tuple(f"shared-{number}" for number in range(8))
TRIES_MAX = 20
PAUSE_S = (0.02, 0.3)
"""Between two attempts at one call."""
WRITE_MARGIN_NS = 200 * NS_PER_MS
"""What a lease must have left for its holder to write under it."""

Ask = Callable[[str], Awaitable[Attempt]]
"""Sends one attempt, under the request id that it is given."""


@dataclass(slots=True)
class Held:
    """A lease as its holder knows it."""

    id: str
    key: str
    token: int
    ttl_ms: int
    session_id: str
    until_ns: int


class Client:
    """One service: one holder. `run` once; `stop` lets it finish what it is at."""

    def __init__(self, name: str, seed: int, around: Around, shelf: Shelf, *, namespace: str = "") -> None:
        self.name = name
        self.long_lived: list[Held] = []
        """What it holds for minutes; nobody renews it."""
        self._around = around
        self._random = random.Random(f"{seed}/{name}")
        self._call = Caller(name, around, self._random, namespace)
        self._prefix = f"{namespace}-" if namespace else ""
        self._shelf = shelf
        self._stopping = asyncio.Event()
        self._serial = 0

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        habits = (
            self._hold_one,
            self._hold_in_session,
            self._hold_several,
            self._hold_for_long,
            self._upload_and_keep,
        )
        while not self._stopping.is_set():
            await self._random.choices(habits, weights=(5, 3, 3, 2, 1))[0]()
            await self._pause(self._random.uniform(0.0, 0.3))

    async def let_go(self) -> None:
        """Release what it holds for long, so that the end can be waited for."""
        for held in self.long_lived:
            for _ in range(TRIES_MAX):
                if (await self._call.release(held.id)).outcome in {Outcome.OK, Outcome.REFUSED}:
                    break
                await asyncio.sleep(self._random.uniform(*PAUSE_S))

    # -- habits -------------------------------------------------------------------------------------------------

    async def _hold_one(self) -> None:
        key = self._shared_key() if self._happens(0.6) else self._own_key()
        held = await self._acquire(key, ttl_ms=self._random.choice(TTLS_MS))
        if held is None:
            return
        self._write(held)
        await self._call.look(self._shared_key())
        for _ in range(self._random.randrange(6)):
            await self._pause(held.ttl_ms / 1_000 * self._random.uniform(0.2, 0.5))
            if self._stopping.is_set() or not await self._renew(held):
                return
            if self._happens(0.3):
                await self._call.read(held.id)
            if self._happens(0.3):
                await self._call.look(key)
        if self._happens(0.5):  # else it dies with its leases on
            await self._call.release(held.id)

    async def _hold_in_session(self) -> None:
        ttl_ms = self._random.choice(TTLS_MS)
        opened = await self._insist(lambda request_id: self._call.open_session(request_id, ttl_ms=ttl_ms))
        if opened is None:
            return
        held = []
        for _ in range(self._random.randint(1, 4)):
            lease = await self._acquire(self._own_key(), ttl_ms=ttl_ms, session_id=opened.session_id)
            if lease is not None:
                self._write(lease)
                held.append(lease)
        for _ in range(self._random.randrange(8)):
            await self._pause(ttl_ms / 1_000 * self._random.uniform(0.2, 0.5))
            renewed = await self._call.renew_session(opened.session_id, ttl_ms=ttl_ms)
            if self._stopping.is_set() or renewed.outcome is Outcome.REFUSED:
                return
            if held and self._happens(0.3):
                await self._call.read(self._random.choice(held).id)
        if self._happens(0.4):
            await self._call.close_session(opened.session_id)

    async def _hold_several(self) -> None:
        """Some leases that stand alone, renewed by one message: a batch, or one on a stream."""
        ttl_ms = self._random.choice(TTLS_MS)
        keys = [self._own_key() for _ in range(self._random.randint(2, 4))]
        held = [each for key in keys if (each := await self._acquire(key, ttl_ms=ttl_ms)) is not None]
        for each in held:
            self._write(each)
        if not held:
            return
        if self._happens(0.5):
            await self._renew_several(held, lambda leases: renew_batch(self._call, leases))
        else:
            async with stream(self._call) as opened:
                await self._renew_several(held, opened.renew)
        if self._happens(0.5):
            for each in held:
                await self._call.release(each.id)

    async def _renew_several(
        self, held: list[Held], renew: Callable[[list[Renewed]], Awaitable[list[Attempt]]]
    ) -> None:
        """A few times, as long as all of them are."""
        for _ in range(self._random.randrange(1, 6)):
            await self._pause(held[0].ttl_ms / 1_000 * self._random.uniform(0.2, 0.5))
            renewed = await renew([Renewed(each.id, each.ttl_ms) for each in held])
            if self._stopping.is_set() or not all(each.ok for each in renewed):
                return

    async def _hold_for_long(self) -> None:
        held = await self._acquire(self._own_key(), ttl_ms=LONG_TTL_MS)
        if held is not None:
            self._write(held)
            self.long_lived.append(held)
        if len(self.long_lived) > LONG_LIVED_MAX:
            released = await self._call.release(self.long_lived[0].id)
            if released.outcome in {Outcome.OK, Outcome.REFUSED}:
                del self.long_lived[0]

    async def _upload_and_keep(self) -> None:
        """An upload that became permanent: its holder takes it off the books."""
        held = await self._acquire(self._own_key(), ttl_ms=max(TTLS_MS))
        if held is not None and self._write(held):
            await self._call.release(held.id, keep=True)

    # -- calls --------------------------------------------------------------------------------------------------

    def _own_key(self) -> str:
        self._serial += 1
        return f"{self._prefix}{self.name}-{self._serial}"

    def _shared_key(self) -> str:
        return self._prefix + self._random.choice(SHARED_KEYS)

    async def _acquire(self, key: str, *, ttl_ms: int, session_id: str = "") -> Held | None:
        cleanup = cleanup_spec_pb2.CleanupSpec(handler="file", parameters={"path": key})

        async def ask(request_id: str) -> Attempt:
            return await self._call.acquire(key, request_id, ttl_ms=ttl_ms, session_id=session_id, cleanup=cleanup)

        granted = await self._insist(ask)
        if granted is None:
            return None
        if self._happens(0.1):  # a duplicate of an answered request, as networks and libraries make them
            await ask(granted.request_id)
        until_ns = granted.sent_ns + granted.remaining_ms * NS_PER_MS
        return Held(granted.lease_id, key, granted.token, ttl_ms, session_id, until_ns)

    async def _insist(self, ask: Ask) -> Attempt | None:
        """Repeat until there is an answer, under one request id; None when it was refused, or never came."""
        request_id = self._call.fresh_request_id()
        for _ in range(TRIES_MAX):
            attempt = await ask(request_id)
            if attempt.ok:
                return attempt
            if attempt.outcome is Outcome.REFUSED or self._stopping.is_set():
                return None
            await self._pause(self._random.uniform(*PAUSE_S))
        return None

    async def _renew(self, held: Held) -> bool:
        """Renew until answered, or until the lease must be taken for lost."""
        while self._around.now_ns() < held.until_ns:
            attempt = await self._call.renew(held.id, ttl_ms=held.ttl_ms, session_id=held.session_id)
            if attempt.ok:
                held.until_ns = attempt.sent_ns + attempt.remaining_ms * NS_PER_MS
                return True
            if attempt.outcome is Outcome.REFUSED:
                return False
            await self._pause(self._random.uniform(*PAUSE_S))
        return False

    def _write(self, held: Held) -> bool:
        """Make the leased object, unless the lease is nearly over by the client's own clock."""
        if self._around.now_ns() > held.until_ns - WRITE_MARGIN_NS:
            return False
        made = self._shelf.put(held.key, client=self.name, lease_id=held.id, token=held.token, until_ns=held.until_ns)
        return bool(made)

    def _happens(self, probability: float) -> bool:
        return self._random.random() < probability

    async def _pause(self, seconds: float) -> None:
        """Sleep, but not past a stop."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass
