"""What docs/handlers.md and the example's README show is what the handlers take."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from garbagetruck.cluster.cleanup.handler import Handler
from garbagetruck.cluster.cleanup.handlers.file import FileOptions
from garbagetruck.cluster.cleanup.handlers.http_options import HttpOptions
from garbagetruck.cluster.cleanup.registry import build_registry
from garbagetruck.cluster.cleanup.running import run_directly
from garbagetruck.cluster.cleanup.settings import HandlerSettings
from tests.unit.cleanup.fakes import ProbeHandler

ROOT = Path(__file__).resolve().parents[3]
PAGES = (ROOT / "docs" / "handlers.md", ROOT / "examples" / "handlers" / "README.md")
COMMON = ("kind", "slots", "attempt_timeout")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def stand_in(_options: Mapping[str, object], name: str) -> Handler:
    return ProbeHandler(name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_configuration_shown_is_taken(page: Path) -> None:
    shown = blocks(page, "toml")
    assert shown
    for block in shown:
        tables = tomllib.loads(block)["handlers"]
        settings = [
            HandlerSettings(
                name=name,
                kind=table.get("kind", name),
                options={key: value for key, value in table.items() if key not in COMMON},
                slots_max=table.get("slots"),
            )
            for name, table in tables.items()
        ]
        build_registry(settings, run_blocking=run_directly, environ={}, find_factory=lambda _kind: stand_in)


def test_every_option_is_described() -> None:
    text = PAGES[0].read_text(encoding="utf-8")
    described = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    options = {*FileOptions.__struct_fields__, *HttpOptions.__struct_fields__}
    assert options <= described
    assert described - options == {"path", "root"}, "the parameters, and nothing that does not exist"
