"""What a scenario is: a name, a sentence, and a few lines that play on a stage."""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import MappingProxyType

from garbagetruck.chaos.processes.settings import Settings
from garbagetruck.chaos.stage import Stage

Play = Callable[[Stage], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One story. The numbers are what it is played with unless somebody says otherwise."""

    name: str
    summary: str
    play: Play
    duration_s: float
    outage_s: float
    times: int
    nodes: int
    size: int
    """How much of it there is, of a scenario that is about a mass."""
    spare: int
    """Nodes that are there to be let in."""
    feature_level: int | None
    """What the nodes are started with. None: the newest."""
    covers: tuple[int, ...]
    """Which of the dangers of docs/chaos.md it is about, beyond those that every run is judged by."""
    settings: Settings
    """Of the nodes, beside those of every run."""
    postgres: bool
    """Whether the nodes keep copies in a PostgreSQL server of the run's own."""
    ends_serving: bool
    """Whether a majority serves in the end, so that leases can be counted and orphans waited for."""


def scenario(  # noqa: PLR0913  # all that a story is played with comes in here
    name: str,
    *,
    duration_s: float = 20.0,
    outage_s: float = 5.0,
    times: int = 3,
    nodes: int = 3,
    size: int = 0,
    spare: int = 0,
    feature_level: int | None = None,
    covers: tuple[int, ...] = (),
    settings: Settings = MappingProxyType({}),
    postgres: bool = False,
    ends_serving: bool = True,
) -> Callable[[Play], Scenario]:
    """Make a scenario of a function; its docstring is the summary."""

    def made(play: Play) -> Scenario:
        summary = " ".join((inspect.getdoc(play) or "").split())
        assert summary, f"{name} says nothing of itself"
        return Scenario(
            name=name,
            summary=summary,
            play=play,
            duration_s=duration_s,
            outage_s=outage_s,
            times=times,
            nodes=nodes,
            size=size,
            spare=spare,
            feature_level=feature_level,
            covers=covers,
            settings=settings,
            postgres=postgres,
            ends_serving=ends_serving,
        )

    return made
