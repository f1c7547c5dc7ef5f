"""The table of scenarios: what each is called, what it needs, and at how many calls in flight it runs."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from garbagetruck.cli.bench import bulk, unary
from garbagetruck.cli.bench.cleanup import cleanup
from garbagetruck.cli.bench.expiry import mass_expiry
from garbagetruck.cli.bench.failover import failover
from garbagetruck.cli.bench.figures import Row
from garbagetruck.cli.bench.heartbeat import session_heartbeat
from garbagetruck.cli.bench.plan import Plan
from garbagetruck.cli.bench.subject import Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One kind of load. `run` gives one row for each level of calls in flight."""

    name: str
    summary: str
    run: Callable[[Subject, Plan], Awaitable[list[Row]]]
    throwaway_only: bool = False
    """It harms the cluster, so that it never touches one that was given by --endpoints."""
    by_name_only: bool = False
    """It takes minutes and gigabytes, so that it runs only when it is asked for."""


SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario(name="acquire", summary="leases on new resources, one a call, at the leader", run=unary.acquire),
        Scenario(
            name="acquire-follower",
            summary="the same, asked of a follower, which forwards them",
            run=unary.acquire_follower,
        ),
        Scenario(name="renew", summary="one lease a call, at the leader", run=unary.renew),
        Scenario(name="renew-batch", summary="a hundred leases a call, at the leader", run=unary.renew_batch),
        Scenario(
            name="session-heartbeat", summary="sessions of a hundred leases each, on streams", run=session_heartbeat
        ),
        Scenario(name="release", summary="one lease a call, at the leader", run=unary.release),
        Scenario(
            name="mass-expiry",
            summary="ten thousand leases end together, while another client acquires",
            run=mass_expiry,
            throwaway_only=True,
        ),
        Scenario(
            name="cleanup",
            summary="ten thousand files fall due at once, while another client acquires",
            run=cleanup,
            throwaway_only=True,
        ),
        Scenario(
            name="failover", summary="kill -9 of the leader, to the next success", run=failover, throwaway_only=True
        ),
        Scenario(
            name="memory",
            summary="a million leases, and snapshots of them while another client acquires",
            run=bulk.memory,
            throwaway_only=True,
            by_name_only=True,
        ),
        Scenario(
            name="restart",
            summary="kill -9 of nodes that have a million leases, to the next answer",
            run=bulk.restart,
            throwaway_only=True,
            by_name_only=True,
        ),
        Scenario(
            name="growth",
            summary="acquires at the leader, among ever more leases",
            run=bulk.growth,
            throwaway_only=True,
            by_name_only=True,
        ),
    )
}


def chosen(names: list[str] | None) -> list[Scenario]:
    """The scenarios of these names, each once, in the order asked for; the short ones when none is named. Raises `ValueError`."""
    unknown = [name for name in names or () if name not in SCENARIOS]
    if unknown:
        message = f"there is no scenario {', '.join(unknown)}; there are {', '.join(SCENARIOS)}"
        raise ValueError(message)
    if names:
        return [SCENARIOS[name] for name in dict.fromkeys(names)]
    return [scenario for scenario in SCENARIOS.values() if not scenario.by_name_only]
