"""What holds for every command of the app: help, examples, variables, shared flags."""

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
import typer.main
from typer.testing import CliRunner

from garbagetruck.cli.app import MODULES, app

MUTATIONS = {
    "lease acquire",
    "lease exec",
    "lease release",
    "lease renew",
    "session close",
    "resource hold",
    "resource unhold",
    "cleanup close-breaker",
    "cleanup discard",
    "cleanup fleet-brake",
    "cleanup pause",
    "resource forget",
    "cleanup resume",
    "cleanup retry",
    "namespace set",
    "member add",
    "member remove",
    "leader transfer",
    "snapshot create",
}
LISTS = {
    "lease list",
    "session list",
    "resource list",
    "cleanup list",
    "cleanup preview",
    "namespace list",
    "snapshot list",
}
DANGEROUS = {
    "session close",
    "resource unhold",
    "resource forget",
    "cleanup close-breaker",
    "cleanup discard",
    "cleanup fleet-brake",
    "cleanup resume",
    "namespace set",
}
OFFLINE = {"snapshot restore"}
"""Commands that look at this machine's own files."""
LOCAL = (
    OFFLINE
    | {"up", "serve", "bench", "version", "config check", "config show", "config example", "tls init"}
    | {"chaos list", "chaos run", "chaos simulate", "chaos mutants"}
)
"""Commands that are no call to a cluster, and so have none of the common flags."""
NOT_OURS = {"help", "install_completion", "show_completion"}


def commands() -> dict[str, typer.core.TyperCommand]:
    def walk(group: typer.core.TyperGroup, path: str) -> Iterator[tuple[str, typer.core.TyperCommand]]:
        for name, each in group.commands.items():
            if isinstance(each, typer.core.TyperGroup):
                yield from walk(each, f"{path}{name} ")
            else:
                assert isinstance(each, typer.core.TyperCommand)
                yield f"{path}{name}", each

    root = typer.main.get_command(app)
    assert isinstance(root, typer.core.TyperGroup)
    return dict(walk(root, ""))


COMMANDS = commands()


def options(name: str) -> dict[str, typer.core.TyperOption]:
    """A command's flags by their longest name."""
    return {
        max(each.opts, key=len): each
        for each in COMMANDS[name].params
        if isinstance(each, typer.core.TyperOption) and each.name not in NOT_OURS
    }


@pytest.mark.parametrize(
    ("line", "spared"),
    [
        ("version", {"garbagetruck.client", "garbagetruck.cli.lease", "grpc", "yaml"}),
        ("config example", {"garbagetruck.client", "garbagetruck.cluster", "grpc"}),
        ("up --help", {"garbagetruck.client", "garbagetruck.cluster", "grpc"}),
        ("lease list --help", {"garbagetruck.cli.bench.command", "garbagetruck.cluster", "yaml"}),
    ],
)
def test_a_command_imports_only_what_it_needs(line: str, spared: set[str]) -> None:
    program = (
        "import sys\nfrom garbagetruck.cli.app import app\ntry: app()\nexcept SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", program, *line.split()], capture_output=True, text=True, check=True)
    assert spared & set(ran.stderr.split()) == set()


def test_the_help_names_every_command_in_the_order_of_the_table() -> None:
    lines = CliRunner().invoke(app, ["--help"]).stdout.partition("Commands:")[2].partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in lines if re.match(r"  \w", line)] == [*MODULES, "version"]
    assert "Did you mean 'lease'?" in CliRunner().invoke(app, ["leese"]).stderr


def test_the_groups_above_name_commands_that_there_are() -> None:
    assert COMMANDS.keys() >= MUTATIONS | LISTS | DANGEROUS | LOCAL


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_has_a_sentence_and_an_example_that_begins_with_the_command(name: str) -> None:
    result = CliRunner().invoke(app, [*name.split(), "--help"], terminal_width=200)
    assert result.exit_code == 0
    assert COMMANDS[name].help
    assert f"garbagetruck {name}" in result.stdout.split("Example")[-1]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_and_argument_says_what_it_is(name: str) -> None:
    silent = [each.name for each in COMMANDS[name].params if not getattr(each, "help", None)]
    assert silent == []


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - LOCAL | OFFLINE | {"tls init"}))
def test_every_flag_has_a_variable_of_its_own_name(name: str) -> None:
    shared = {"--endpoints", "--namespace", "--output", "--timeout"}
    for flag, option in options(name).items():
        prefix = "GARBAGETRUCK" if flag in shared else f"GARBAGETRUCK_{name.replace(' ', '_').upper()}"
        wanted = f"{prefix}_{flag.removeprefix('--').replace('-', '_').upper()}"
        automatic = f"{prefix}_{str(option.name).upper()}"
        assert (option.envvar or automatic) == wanted


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - LOCAL))
def test_every_command_has_the_common_flags_and_those_of_its_kind(name: str) -> None:
    flags = options(name).keys()
    assert flags >= {"--endpoints", "--namespace", "--output", "--timeout"}
    assert ("--request-id" in flags) == (name in MUTATIONS)
    assert ({"--limit", "--all", "--page-token"} <= flags) == (name in LISTS)
    assert ("--yes" in flags) == (name in DANGEROUS)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["lease", "acquire", "a"], "Missing option '--ttl'"),
        (["lease", "acquire", "a", "--ttl", "30"], "'30' is not a duration; write a number and a unit"),
        (["lease", "acquire", "a", "--ttl", "-5s"], "'-5s' is not a duration"),
        (["lease", "acquire", "a", "--ttl", "30s", "--timeout", "0s"], "'--timeout'"),
        (["lease", "acquire", "a", "--ttl", "30s", "--cleanup", "file"], "write HANDLER:key=value"),
        (["lease", "acquire", "a", "--ttl", "30s", "--cleanup", '{"handler":'], "--cleanup is not JSON"),
        (["lease", "acquire", "a", "--ttl", "30s", "--label", "x"], "--label 'x': write key=value"),
        (["lease", "acquire", "a", "--ttl", "30s", "--endpoints", "nonsense"], "--endpoints: bad endpoint 'nonsense'"),
        (["lease", "list", "--endpoints", "http://127.0.0.1:7101"], "--endpoints: bad endpoint 'http://"),
        (["lease", "list", "--limit", "0"], "'--limit'"),
        (["lease", "list", "-o", "xml"], "'table', 'wide', 'json', 'yaml', 'name'"),
        (["lease", "list", "-l", "team"], "--selector 'team': write key=value"),
        (["lease", "release"], "name lease ids, or --holder"),
        (["lease", "release", "--holder", "h", "--keep-resource"], "--keep-resource goes with lease ids"),
        (["lease", "exec", "a", "--ttl", "5s"], "Missing argument 'COMMAND'"),
        (["resource", "list", "--state", "gone"], "'gone' is no state; choose from live, orphaned"),
        (["cleanup", "list", "--state", "live"], "choose from orphaned, due, claimed, dead_letter"),
        (["cleanup", "discard", "a"], "add --yes if that is meant"),
        (["cleanup", "resume", "--release-brake"], "add --yes if that is meant"),
        (["cleanup", "resume", "--all-namespaces"], "add --yes if that is meant"),
        (["cleanup", "resume", "--all-namespaces", "--release-brake"], "brake of the whole fleet"),
        (["cleanup", "close-breaker", "http"], "add --yes if that is meant"),
        (["cleanup", "fleet-brake", "--disabled"], "add --yes if that is meant"),
        (["cleanup", "fleet-brake"], "nothing is given"),
        (["namespace", "set", "a", "--no-brake"], "add --yes if that is meant"),
        (["snapshot", "restore", "--from", "a"], "Missing option '--config'"),
        (
            ["snapshot", "restore", "--config", "n1.toml", "--from", "a", "--incarnation", "8192"],
            "less than or equal to 8191",
        ),
        (["snapshot", "list", "--from", "a", "--data-dir", "b"], "--from and --data-dir are two places; name one"),
        (["snapshot", "list", "--cluster", "a"], "--config and --cluster go with --from"),
        (["snapshot", "verify", "s1", "--data-dir", "a"], "of a node's disk, name the file"),
        (["snapshot", "create", "--wait-timeout", "5"], "'5' is not a duration"),
        (["lease", "lst"], "No such command 'lst'"),
        (["resource", "forget", "a"], "Missing option '--reason'"),
        (["serve", "--config", "n1.toml", "--raft-heartbeet", "1s"], "--raft-heartbeet is not known"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_would_be_right(arguments: list[str], told: str) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.split())
    assert result.stdout == ""


def test_a_flag_beats_its_variable() -> None:
    environment = {"GARBAGETRUCK_TIMEOUT": "nonsense"}
    assert CliRunner(env=environment).invoke(app, ["status"]).exit_code == 2
    arguments = ["status", "--timeout", "300ms", "--endpoints", "127.0.0.1:1"]
    assert CliRunner(env=environment).invoke(app, arguments).exit_code == 3


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            f"watch --from {10**20}",
            "'--from' (env var: 'GARBAGETRUCK_WATCH_FROM'): Input should be less than or equal to",
        ),
        (f"namespace set a --leases-max -{10**20}", "--leases-max: is -100000000000000000000, more than can be sent"),
        (f"namespace set a --attempts-max {10**20}", "--attempts-max: is 100000000000000000000, more than can be sent"),
        (f"namespace set a --brake-holders-min {10**20}", "--brake-holders-min: is"),
        (f"namespace set a --revision {10**20}", "--revision: is 100000000000000000000, more than can be sent"),
        (f"namespace set a --grace-min {10**20}d", "'--grace-min': '100000000000000000000d' is longer than any"),
        (f"lease acquire r --ttl {10**20}s", "'--ttl': '100000000000000000000s' is longer than any duration"),
        (f"lease list --limit {10**20}", "'--limit': Input should be less than or equal to 1000000"),
        (f"status --timeout {'9' * 5_000}s", "is longer than any duration here can be; write at most 104249991d"),
        (f"status --endpoints 127.0.0.1:{10**20}", "with a port from 1 to 65535"),
        (f"tls init c --node n1 --days {10**20}", "'--days': Input should be less than or equal to 3650"),
        (f"up --nodes {10**20}", "--nodes 100000000000000000000 is out of bounds; choose from 1 to 15"),
        (f"up --base-port {10**20}", "--base-port 100000000000000000000 is out of bounds; choose from 1 to"),
    ],
)
def test_a_number_that_is_far_too_large_is_told_with_its_flag_and_its_bound(line: str, told: str) -> None:
    result = CliRunner(env={"GARBAGETRUCK_ENDPOINTS": "127.0.0.1:1"}).invoke(app, line.split())
    assert result.exit_code in {1, 2}
    assert told in " ".join(result.stderr.split())


def test_a_number_that_no_message_can_hold_is_not_blamed_on_the_endpoints() -> None:
    result = CliRunner().invoke(
        app, ["namespace", "set", "a", "--leases-max", str(2**64), "--endpoints", "127.0.0.1:1"]
    )
    assert result.exit_code == 1
    assert "--leases-max: is 18446744073709551616, more than can be sent; write at most" in result.stderr
    assert "--endpoints" not in result.stderr
