"""The flags of `garbagetruck bench`: what it refuses before it starts anything."""

import pytest
import typer
from typer.testing import CliRunner

from garbagetruck.cli.bench.command import register
from garbagetruck.cli.bench.plan import DURATION_S_DEFAULT, Plan
from garbagetruck.cli.bench.scenarios import SCENARIOS, chosen

BY_NAME_ONLY = ("memory", "restart", "growth")
ENDPOINTS = "127.0.0.1:1,127.0.0.1:2,127.0.0.1:3"


@pytest.fixture
def app() -> typer.Typer:
    made = typer.Typer(context_settings={"auto_envvar_prefix": "GARBAGETRUCK"}, rich_markup_mode=None)

    @made.callback()
    def root() -> None:
        """So that bench is a command of it, as in the real one."""

    register(made)
    return made


def plan(*, operations: int | None = None, duration_s: float = DURATION_S_DEFAULT) -> Plan:
    return Plan(operations=operations, duration_s=duration_s, say=lambda _: None)


def test_the_scenarios_of_the_contract_are_there() -> None:
    assert list(SCENARIOS) == [
        "acquire",
        "acquire-follower",
        "renew",
        "renew-batch",
        "session-heartbeat",
        "release",
        "mass-expiry",
        "cleanup",
        "failover",
        "memory",
        "restart",
        "growth",
    ]


def test_scenarios_run_once_each_in_the_order_asked_for_and_the_short_ones_by_default() -> None:
    assert [each.name for each in chosen(["renew", "acquire", "renew"])] == ["renew", "acquire"]
    assert [each.name for each in chosen(["memory"])] == ["memory"]
    assert [each.name for each in chosen(None)] == [each for each in SCENARIOS if each not in BY_NAME_ONLY]


def test_only_what_harms_nothing_may_run_on_a_given_cluster() -> None:
    assert {name for name, each in SCENARIOS.items() if each.throwaway_only} == {
        "mass-expiry",
        "cleanup",
        "failover",
        *BY_NAME_ONLY,
    }


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--scenario", "aquire"], "aquire; there are acquire, acquire-follower, renew"),
        (["--target", "etcd"], "this version cannot measure etcd"),
        (["--target", "consul"], "choose self"),
        (["--operations", "0"], "--operations"),
        (["--operations", "5", "--duration", "5s"], "not both"),
        (["--duration", "5"], "is not a duration"),
        (["--duration", "0s"], "longer than 0s"),
        (["--endpoints", "nowhere"], "host:port"),
        (["--endpoints", ENDPOINTS, "--scenario", "failover"], "throw-away"),
        (["--endpoints", ENDPOINTS, "--scenario", "acquire", "--scenario", "mass-expiry"], "throw-away"),
        (["-o", "yaml"], "yaml"),
    ],
)
def test_a_misuse_is_a_usage_error_that_says_what_is_right(app: typer.Typer, arguments: list[str], told: str) -> None:
    result = CliRunner().invoke(app, ["bench", *arguments], terminal_width=500)
    assert result.exit_code == 2
    assert told in " ".join(result.output.split())
    assert result.stdout == ""


def test_a_cluster_named_for_other_commands_is_never_loaded_by_accident(
    app: typer.Typer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GARBAGETRUCK_ENDPOINTS", "nowhere")
    result = CliRunner().invoke(app, ["bench", "--target", "etcd"])
    assert "etcd" in result.output


def test_operations_are_divided_among_calls_and_rounded_up() -> None:
    assert plan(operations=250).budget(units_per_call=100).calls_max == 3
    assert plan(operations=50).budget().calls_max == 50
    assert plan(operations=50).warm_up().calls_max == 50
    assert plan(operations=1_000_000).warm_up().calls_max == 500
    assert plan(duration_s=2.0).budget().duration_s == 2.0
