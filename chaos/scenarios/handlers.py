"""Scenarios of cleanups whose handlers are held up in the middle."""

from collections.abc import Callable

from garbagetruck.chaos.faults.processes import Kill, Stop
from garbagetruck.chaos.history import Attempt
from garbagetruck.chaos.processes.vault import Decision, Deletion, Point, Vault
from garbagetruck.chaos.scenarios.scenario import scenario
from garbagetruck.chaos.stage import Stage

LOAD_S = 1.0
SHORT_MS = 500
LONG_MS = 600_000
"""Longer than every scenario: what is leased so is in use."""
SOON_S_MAX = 45.0
"""An attempt's time, an election, a claim's deadline, and the second after it."""


@scenario("stale-handler", covers=(6,), times=2)
async def stale_handler(stage: Stage) -> None:
    """A leader stops between claim and deletion; another cleans, the resource is made anew and leased: the stale token deletes nothing."""
    for number in range(1, stage.plan.times + 1):
        await stage.load(LOAD_S)
        await _overtaken(stage, f"vault-{number}")
    await stage.load(LOAD_S)


@scenario("kill-mid-cleanup", covers=(13,), times=1)
async def kill_mid_cleanup(stage: Stage) -> None:
    """Kill -9 of the leader after its claim, then after its handler and before its report: the next one ends it, once."""
    for number in range(1, stage.plan.times + 1):
        for point in Point:
            await stage.load(LOAD_S)
            await _ended_by_another(stage, f"vault-{point}-{number}", point)
    await stage.load(LOAD_S)


async def _overtaken(stage: Stage, key: str) -> None:
    vault, stale_pid = await _held_up(stage, key, Point.CLAIMED)
    async with stage.under(Stop(stage.cluster.node_of(stale_pid))):
        vault.open(Point.CLAIMED, key)
        await _until(stage, f"another leader deletes {key}", lambda: vault.token_of(key) is None)
        anew = await _leased(stage, key, LONG_MS)
        vault.put(key, anew.token)
    await _until(stage, f"the stale handler comes to {key}", lambda: stale_pid in _pids(vault, key))
    fenced = [each for each in vault.deletions(key) if each.pid == stale_pid]
    stage.check(
        f"I5: the stale handler's deletions of {key} were refused: {_told(fenced)}; it was made anew under {anew.token}",
        holds=all(each.decision is Decision.FENCED and each.token < anew.token for each in fenced),
    )
    stage.check(f"I1: {key} is there, under its new lease", holds=vault.token_of(key) == anew.token)
    await stage.caller.release(anew.lease_id)
    await _until(stage, f"I4: {key} is deleted after its last lease", lambda: vault.token_of(key) is None)


async def _ended_by_another(stage: Stage, key: str, point: Point) -> None:
    vault, killed_pid = await _held_up(stage, key, point)
    again = await stage.caller.acquire(key, f"again-{key}", ttl_ms=SHORT_MS)
    stage.check(f"no acquire adopts {key} any more: {again.outcome} {again.reason}", holds=not again.ok)
    async with stage.under(Kill([stage.cluster.node_of(killed_pid)])):
        vault.open(point, key)
        await _until(stage, f"another leader ends the cleanup of {key}", lambda: bool(_pids(vault, key) - {killed_pid}))
    told = vault.deletions(key)
    once = sum(each.decision is Decision.DELETED for each in told) == 1
    stage.check(f"I4: {key} was deleted, and once: {_told(told)}", holds=once and vault.token_of(key) is None)
    tokens = [each.token for each in told]
    stage.check(f"I5: later claims of {key} have higher tokens", holds=tokens == sorted(set(tokens)))
    anew = await _leased(stage, key, SHORT_MS)
    stage.check(f"{key} can be made anew after it", holds=anew.ok)


async def _held_up(stage: Stage, key: str, point: Point) -> tuple[Vault, int]:
    """Lease and make an object, let the lease end, and wait for the handler at a gate; answers whose it is."""
    vault = Vault(stage.cluster.vault)
    vault.shut(point, key)
    first = await _leased(stage, key, SHORT_MS)
    vault.put(key, first.token)
    await _until(stage, f"a handler comes to {key}", lambda: vault.waiting(point, key) is not None)
    pid = vault.waiting(point, key)
    assert pid is not None, "it would have been a failure"
    return vault, pid


async def _leased(stage: Stage, key: str, ttl_ms: int) -> Attempt:
    return await stage.acquire(key, ttl_ms=ttl_ms, handler="vault", parameters={"key": key})


async def _until(stage: Stage, what: str, holds: Callable[[], bool]) -> None:
    """Wait for it, for so long that it would be a failure not to come."""
    if not await stage.within(SOON_S_MAX, holds):
        stage.fail(f"{what} within {SOON_S_MAX:g} s")


def _pids(vault: Vault, key: str) -> set[int]:
    return {each.pid for each in vault.deletions(key)}


def _told(deletions: list[Deletion]) -> str:
    return ", ".join(f"{each.decision} under {each.token}" for each in deletions)
