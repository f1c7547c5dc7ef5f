"""Waiting for a member: what is told meanwhile, and how it ends."""

from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import typer

from garbagetruck.cli import member
from garbagetruck.cli.exits import Exit
from garbagetruck.client import Member, MemberRole, Truck, Unavailable

LEARNER = Member("n4", "a:1", "r:1", "h:1", "", "p:1", MemberRole.LEARNER)
VOTER = Member("n4", "a:1", "r:1", "h:1", "disk", "p:1", MemberRole.VOTER)
Look = tuple[Member | None, str] | Unavailable


@dataclass
class Looks:
    """A cluster as it is seen, look by look; the last one stays."""

    looks: list[Look]
    warnings: tuple[str, ...] = field(default=())

    async def members(self) -> tuple[Member, ...]:
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(look, Unavailable):
            raise look
        found, warning = look
        self.warnings = ("n2 does not answer", *([warning] if warning else []))
        return () if found is None else (found,)

    async def status(self) -> Any:
        return self


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member, "POLL_S", 0.001)


async def wait(*looks: Look, patience_ms: int = 60_000) -> None:
    await member._wait(cast("Truck", Looks(list(looks))), "n4", patience_ms, "joins", "has no vote yet", member._votes)


async def test_what_keeps_it_is_told_once_for_as_long_as_it_stays(capsys: pytest.CaptureFixture[str]) -> None:
    away, behind = "n4 joins: no node has come", "n4 joins: it is behind"
    gone = Unavailable("no leader is known")
    await wait((LEARNER, away), (LEARNER, away), gone, (LEARNER, behind), (LEARNER, ""), (VOTER, ""))
    assert capsys.readouterr().err.splitlines() == [away, "no leader is known", behind]


async def test_patience_ends_with_an_unknown_outcome_and_the_cluster_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(typer.Exit) as ended:
        await wait((LEARNER, ""), patience_ms=20)
    assert ended.value.exit_code == Exit.UNKNOWN
    assert "n4 has no vote yet. The cluster goes on" in capsys.readouterr().err


async def test_when_nobody_answers_at_the_end_it_is_not_known_and_not_told_as_if_it_were(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(typer.Exit) as ended:
        await wait((LEARNER, ""), Unavailable("no leader is known"), patience_ms=20)
    assert ended.value.exit_code == Exit.UNKNOWN
    assert "Nobody answers: it is not known whether n4 has no vote yet." in capsys.readouterr().err


async def test_a_learner_that_is_removed_again_is_not_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended:
        await wait((LEARNER, ""), (None, ""))
    assert ended.value.exit_code == Exit.REFUSED
    assert "removed again meanwhile" in capsys.readouterr().err
