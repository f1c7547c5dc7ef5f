"""What the documentation shows of the command line is run as it stands, on a cluster of three nodes."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from garbagetruck.cli.app import app
from tests.architecture.checkout import ROOT
from tests.cluster_fixtures.local import LocalCluster
from tests.cluster_fixtures.prepared import prepare

PAGES = ("README.md", "docs/cli.md")
NOT_RUN_HERE = (
    "make ",
    "git ",
    "garbagetruck up",
    "garbagetruck serve",
    "garbagetruck bench",
    "garbagetruck snapshot restore",
)
"""Commands that run until they are stopped, or for long, or need a disaster first; other tests run them."""
BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXITS = re.compile(r"\s#.*\bexits (\d+)")


def blocks() -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """Every block with a place to find it by, and its commands with the exit codes that they say they have."""
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for block in BLOCK.finditer(text):
            commands = []
            for line in block[1].replace("\\\n", "").splitlines():
                if not line.startswith("$ "):
                    continue
                command = line.removeprefix("$ ").replace(".venv/bin/garbagetruck", "garbagetruck")
                if "garbagetruck" in command and not command.startswith(NOT_RUN_HERE):
                    exits = EXITS.search(command)
                    commands.append((command, int(exits[1]) if exits else 0))
            if commands:
                yield f"{page}:{text.count(chr(10), 0, block.start()) + 1}", commands


BLOCKS = dict(blocks())


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    folder = tmp_path_factory.mktemp("documented") / "cluster"
    local = LocalCluster(folder, storage=folder / "storage")
    try:
        local.start()
        prepare(local, dead_letters=("reports/7", "reports/8", "reports/9"), sessions=("indexer-1", "indexer-2"))
        yield local
    finally:
        local.stop()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the reader is."""
    return tmp_path_factory.mktemp("reader")


def environment(cluster: LocalCluster) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    # More patience than a reader needs: the machine that runs this may be busy.
    return {**os.environ, "PATH": path, "GARBAGETRUCK_ENDPOINTS": cluster.endpoints, "GARBAGETRUCK_TIMEOUT": "30s"}


def at_this_cluster(command: str, cluster: LocalCluster) -> str:
    for number, node in enumerate(cluster.nodes.values(), start=1):
        command = command.replace(f"127.0.0.1:710{number}", node.api).replace(f"127.0.0.1:720{number}", node.http)
    return command.replace("garbagetruck-data", str(cluster.folder))


@pytest.mark.parametrize("place", BLOCKS)
def test_every_example_ends_as_it_says(place: str, cluster: LocalCluster, folder: Path) -> None:
    # On a busy machine a node misses a question now and then, and a reader would ask again.
    again = 'garbagetruck() { for _ in {1..20}; do command garbagetruck "$@"; code=$?; '
    again += "[ $code = 1 ] && [ $1 = status ] || return $code; sleep 1; done; }\n"
    script = again + "".join(
        f"{at_this_cluster(command, cluster)}\ncode=$?\n"
        f"[ $code = {wanted} ] || {{ echo Exit code $code: {shlex.quote(command)} >&2; exit 99; }}\n"
        for command, wanted in BLOCKS[place]
    )
    ran = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environment(cluster),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    assert "Traceback" not in ran.stderr


def test_there_are_examples_on_every_page() -> None:
    assert {place.partition(":")[0] for place in BLOCKS} == set(PAGES)


# -- docs/cli.md is complete -----------------------------------------------------------------------------------------


def sections() -> dict[str, str]:
    """The text under each heading of docs/cli.md."""
    parts = re.split(r"^## (.+)$", (ROOT / "docs/cli.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def flags_of_every_command() -> Iterator[tuple[str, set[str]]]:
    def walk(group: typer.core.TyperGroup, path: str) -> Iterator[tuple[str, set[str]]]:
        for name, each in group.commands.items():
            if isinstance(each, typer.core.TyperGroup):
                yield from walk(each, f"{path}{name} ")
            else:
                options = [param for param in each.params if isinstance(param, typer.core.TyperOption)]
                yield f"{path}{name}", {max(option.opts, key=len) for option in options}

    root = typer.main.get_command(app)
    assert isinstance(root, typer.core.TyperGroup)
    yield from walk(root, "")


EVERYWHERE = {"--endpoints", "--namespace", "--output", "--timeout", "--help"}


@pytest.mark.parametrize(("name", "flags"), list(flags_of_every_command()))
def test_every_command_has_a_section_that_names_its_flags(name: str, flags: set[str]) -> None:
    section = sections()[name]
    assert {flag for flag in flags - EVERYWHERE if not re.search(rf"{flag}(?![\w-])", section)} == set()


def test_every_section_is_a_command() -> None:
    assert sections().keys() - {"Conventions"} == {name for name, _ in flags_of_every_command()}


SHAPE = re.compile(r"<!-- shape: ([a-z ]+) -->\n```json\n(.*?)```", re.DOTALL)
SHAPES = {name: json.loads(text) for name, text in SHAPE.findall((ROOT / "docs/cli.md").read_text(encoding="utf-8"))}


def keys(value: Any) -> Any:
    """An object's keys, and theirs; what is free to choose (labels, parameters) or absent has none."""
    if isinstance(value, dict):
        return {key: keys(each) for key, each in value.items() if key not in {"labels", "parameters"}}
    if isinstance(value, list) and value:
        return keys(value[0])
    return None


@pytest.mark.parametrize("name", SHAPES)
def test_every_object_has_the_fields_that_are_documented(name: str, cluster: LocalCluster) -> None:
    def run(*arguments: str) -> str:
        command = [sys.executable, "-c", "from garbagetruck.cli.main import main; main()", *arguments]
        return subprocess.run(
            command, env=environment(cluster), capture_output=True, text=True, timeout=60, check=True
        ).stdout

    cleanup = '{"handler":"file","path":"shapes"}'
    lease_id = run("lease", "acquire", "shapes", "--ttl", "1h", "--cleanup", cleanup, "-o", "name").strip()
    session_id = run("session", "list", "--holder", "indexer-2", "-o", "name").strip()
    subject = {
        "lease get": [lease_id],
        "session get": [session_id],
        "resource get": ["shapes"],
        "cleanup get": ["reports/9"],
        "namespace get": ["default"],
        "status": [],
    }[name]
    shown = json.loads(run(*name.split(), *subject, "-o", "json"))
    shown.pop("leases" if name == "resource get" else "", None)
    documented = {key: value for key, value in SHAPES[name].items() if (name, key) != ("resource get", "leases")}
    assert keys(shown) == keys(documented)
