"""The store whose objects are leased and cleaned, and the handler that cleans them.

Duty: keep objects under slash-separated keys, each stamped with the token of the lease it was written under; refuse what
comes with too low a token; tell the oracle of everything that was removed.
Invariants: this is the place where fencing bites: a delete removes only what bears a lower token than its own, a write
with a lower token than the highest delete of its key is refused.
Must not know: leases, claims, why anything is deleted.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import ClassVar

from typing_extensions import override

from garbagetruck.chaos.simulator.network import Network
from garbagetruck.chaos.simulator.world import NS_PER_MS, Process, World
from garbagetruck.cluster.cleanup.handler import (
    ABSENT,
    CleanupCall,
    CleanupResult,
    Handler,
    InvalidParametersError,
    ObservationError,
)

STORE = "store"
CALL_S_MAX = 1.0
HANGS, RAISES = 0.03, 0.05
"""In that share of its calls the handler never answers, or breaks."""


class ObjectStore:
    """Objects by key. `on_removed` hears (key, token of the object, token of the delete)."""

    def __init__(self, world: World, on_removed: Callable[[str, int, int], None]) -> None:
        self._world = world
        self._on_removed = on_removed
        self.objects: dict[str, int] = {}
        self._highest_delete: dict[str, int] = {}
        self.fenced = 0
        """Deletes and writes that were refused for their token."""

    def write(self, key: str, token: int) -> bool:
        if token < self._highest_delete.get(key, 0) or token < self.objects.get(key, 0):
            self.fenced += 1
            self._world.note(f"store fences write {key} token={token}")
            return False
        self.objects[key] = token
        self._world.note(f"store write {key} token={token}")
        return True

    def identity(self, key: str) -> str:
        return f"v{self.objects[key]}" if key in self.objects else ABSENT

    def delete(self, key: str, token: int) -> str:
        """Remove the key and all below it; the answer is `removed`, `absent` or `fenced`."""
        found = [each for each in self.objects if each == key or each.startswith(f"{key}/")]
        removed = [each for each in found if self.objects[each] < token]
        for each in removed:
            self._world.note(f"store delete {each} token={token} bearing={self.objects[each]}")
            self._on_removed(each, self.objects.pop(each), token)
        self._highest_delete[key] = max(token, self._highest_delete.get(key, 0))
        if len(removed) < len(found):
            self.fenced += 1
            self._world.note(f"store fences delete {key} token={token}")
            return "fenced"
        return "removed" if removed else "absent"


class StoreHandler(Handler):
    """Deletes one key, over a network on which a request may be late, and land after its attempt was given up."""

    scheme: ClassVar[str] = STORE

    def __init__(self, *, world: World, network: Network, process: Process, store: ObjectStore) -> None:
        self._world = world
        self._network = network
        self._process = process
        self._store = store
        self._random = world.random(f"handler-{process.name}-{world.now_ns}")

    @override
    def canonical_target(self, parameters: Mapping[str, str]) -> str:
        key = parameters.get("key", "")
        if set(parameters) != {"key"} or not key:
            raise InvalidParametersError("key", "is missing", "name the object's key")
        return f"{STORE}:/{key}"

    @override
    async def observe(self, parameters: Mapping[str, str]) -> str:
        answer = await self._ask(lambda: self._store.identity(parameters["key"]))
        if answer is None:
            raise ObservationError("the store did not answer")
        return answer

    @override
    async def clean(self, call: CleanupCall) -> CleanupResult:
        if self._random.happens(0.2):
            await asyncio.sleep(self._random.uniform(0.0, 1.5))
        mishap = self._random.random()
        if mishap < HANGS:
            await asyncio.get_running_loop().create_future()
        if mishap < HANGS + RAISES:
            raise OSError("the handler's own trouble")
        if not call.may_proceed():
            return CleanupResult.failed("the attempt is over")
        self._world.note(f"handler {self._process.name} deletes {call.target} token={call.fencing_token}")
        answer = await self._ask(lambda: self._store.delete(call.parameters["key"], call.fencing_token))
        if answer is None:
            return CleanupResult.failed("the store did not answer")
        if answer == "fenced":
            return CleanupResult.failed("what is there was made later", retryable=True)
        return CleanupResult.done() if answer == "removed" else CleanupResult.already_gone()

    async def _ask(self, effect: Callable[[], str]) -> str | None:
        """Have the store do something; None when no answer came. It may have been done, or may yet be."""
        answered: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def arrive() -> None:
            answer = effect()
            self._process.post(NS_PER_MS, lambda: self._process.loop.call_soon(resolve, answer))

        def resolve(answer: str) -> None:
            if not answered.done():
                answered.set_result(answer)

        late = self._random.happens(0.05)
        delay_ms = self._random.uniform(1_000.0, 8_000.0) if late else self._random.uniform(0.2, 3.0)
        if self._network.passes(self._process.name, STORE):
            self._world.after(int(delay_ms * NS_PER_MS), arrive)
        try:
            async with asyncio.timeout(CALL_S_MAX):
                return await answered
        except TimeoutError:
            return None
