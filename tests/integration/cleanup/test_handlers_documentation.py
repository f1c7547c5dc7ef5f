"""What docs/handlers.md and the examples' READMEs show is what the handlers take."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from garbagetruck.cluster.cleanup.handler import Handler
from garbagetruck.cluster.cleanup.handlers.file import FileOptions
from garbagetruck.cluster.cleanup.handlers.grpc.options import GrpcOptions
from garbagetruck.cluster.cleanup.handlers.http_options import HttpOptions
from garbagetruck.cluster.cleanup.handlers.s3.options import S3Options
from garbagetruck.cluster.cleanup.handlers.sql.options import SqlOptions, StatementOptions
from garbagetruck.cluster.cleanup.registry import build_registry
from garbagetruck.cluster.cleanup.running import run_directly
from garbagetruck.cluster.cleanup.settings import HandlerSettings
from garbagetruck.cluster.node.config.limits import LIMITS
from garbagetruck.cluster.node.config.tables import parse_handler
from tests.unit.cleanup.fakes import ProbeHandler

ROOT = Path(__file__).resolve().parents[3]
PAGES = (
    ROOT / "docs" / "handlers.md",
    ROOT / "docs" / "examples" / "handlers" / "README.md",
    ROOT / "docs" / "examples" / "services" / "README.md",
)
PARAMETERS = {"path", "root", "bucket", "key", "prefix", "upload_id"}
FENCES = {"version", "etag", "none"}
KEPT = {"dsn": "postgresql://cleaner@localhost/orders"}
"""What is kept in a variable or a file where its form matters; anything else is just a word."""


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def with_secrets(key: str, value: object) -> object:
    """As the configuration's loader hands options to handlers."""
    match value:
        case {"env": str(), **rest} | {"file": str(), **rest} if not rest:
            return KEPT.get(key, "hush")
        case dict():
            return {name: with_secrets(name, each) for name, each in value.items()}
        case _:
            return value


def stand_in(_options: Mapping[str, object], name: str) -> Handler:
    return ProbeHandler(name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_configuration_shown_is_taken(page: Path) -> None:
    shown = blocks(page, "toml")
    assert shown
    for block in shown:
        tables = with_secrets("", tomllib.loads(block)["handlers"])
        assert isinstance(tables, dict)
        parsed = [parse_handler(name, table) for name, table in tables.items()]
        settings = [HandlerSettings(name=each.name, kind=each.kind, options=each.revealed()) for each in parsed]
        build_registry(settings, run_blocking=run_directly, environ={}, find_factory=lambda _kind: stand_in)


def test_every_option_is_described() -> None:
    text = PAGES[0].read_text(encoding="utf-8")
    described = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    records = (FileOptions, HttpOptions, GrpcOptions, SqlOptions, StatementOptions, S3Options)
    options = {name for record in records for name in record.__struct_fields__}
    assert options | set(LIMITS) <= described
    assert described - options - set(LIMITS) == PARAMETERS | FENCES, "the parameters, and nothing that does not exist"
