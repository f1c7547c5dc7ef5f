"""Where settings come from: a file, the environment and flags, merged into one checked tree.

Duty: read the sources, let a flag beat a variable beat the file beat the default, remember where each value came from,
and collect everything that is wrong before saying so once.
Invariants: either the whole tree is returned, or `SettingsError` with every problem found; an unknown key in the file
or among the flags is a problem, with the key that was probably meant; a secret is read from a file or from the
environment and is never part of a message.
Must not know: what the settings are for (`checks` knows how they must fit together).
"""

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args, get_type_hints

from typing_extensions import override

from garbagetruck.cluster.node.config.checks import check_relations, warn_of
from garbagetruck.cluster.node.config.problems import Problem, SettingsError
from garbagetruck.cluster.node.config.settings import NodeSettings
from garbagetruck.cluster.node.config.tables import (
    Handlers,
    HandlerSettings,
    looks_like_credential,
    parse_handler,
)
from garbagetruck.cluster.node.config.values import InvalidValueError, Kind, Secret

VARIABLE_PREFIX = "GARBAGETRUCK_"
CONFIG_BYTES_MAX = 1_048_576
SECRET_BYTES_MAX = 65_536
HANDLERS = "handlers"


@dataclass(frozen=True, slots=True)
class Leaf:
    """One setting, as its annotation describes it."""

    key: str
    """Dotted, as in a file: `raft.heartbeat`. The table of handlers is plain `handlers`."""
    path: tuple[str, ...]
    """The fields that lead to it in `NodeSettings`."""
    kind: Kind
    default: object
    """`MISSING` when it must be given."""

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return VARIABLE_PREFIX + self.key.replace(".", "_").upper()

    @property
    def flag(self) -> str:
        """Its flag on the command line."""
        return "--" + self.key.replace(".", "-").replace("_", "-")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from: `source` is default, file, environment or flag."""

    source: str
    where: str = ""
    """The file, the variable or the flag."""

    @override
    def __str__(self) -> str:
        return f"{self.source} {self.where}".rstrip()


DEFAULT = Origin("default")


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """A checked tree, with the origin of each key."""

    settings: NodeSettings
    origins: Mapping[str, Origin]
    warnings: tuple[str, ...]

    def shown(self) -> Iterator[tuple[str, str, Origin]]:
        """Every key with its value as a file would hold it (secrets hidden) and its origin, in the tree's order."""
        for leaf in leaves():
            value: Any = self.settings
            for name in leaf.path:
                value = getattr(value, name)
            yield leaf.key, "" if value is None else leaf.kind.show(value), self.origins[leaf.key]


def leaves() -> tuple[Leaf, ...]:
    """Every setting there is, in the order of the tree."""
    return tuple(_leaves_of(NodeSettings, ()))


def load_settings(
    file: Path | None, environment: Mapping[str, str], flags: Mapping[str, str] | None = None
) -> LoadedSettings:
    """Merge the sources and check them.

    `flags` maps dotted keys to the text given. Raises `SettingsError` with all that is wrong.
    """
    known = {leaf.key: leaf for leaf in leaves()}
    problems: list[Problem] = []
    raw: dict[str, tuple[object, Origin]] = {}
    if file is not None:
        table = _read_file(file)
        for key, value in _flatten(table, known):
            raw[key] = (value, Origin("file", str(file)))
    for leaf in known.values():
        if leaf.variable in environment:
            raw[leaf.key] = (environment[leaf.variable], Origin("environment", leaf.variable))
    for key, text in (flags or {}).items():
        raw[key] = (text, Origin("flag", known[key].flag if key in known else key))

    problems.extend(_unknown(key, origin, known) for key, (_, origin) in raw.items() if key not in known)
    of_handlers: list[Problem] = []
    values: dict[str, object] = {}
    for leaf in known.values():
        if leaf.key in raw:
            value, origin = raw[leaf.key]
            _take(leaf, value, origin, environment, values, of_handlers if leaf.key == HANDLERS else problems)
        elif leaf.default is MISSING:
            problems.append(_missing(leaf))
    if problems:
        readable = cast("Mapping[str, HandlerSettings]", values.get(HANDLERS, {}))
        raise SettingsError((*problems, *of_handlers), readable)

    settings = _build(NodeSettings, (), values)
    assert isinstance(settings, NodeSettings)
    problems.extend((*check_relations(settings), *of_handlers))  # which relate to no other setting
    if problems:
        raise SettingsError(tuple(problems), settings.handlers)
    origins = {key: raw[key][1] if key in raw else DEFAULT for key in known}
    return LoadedSettings(settings, origins, (*_warn_of_variables(environment, known), *warn_of(settings)))


def _leaves_of(section: type, path: tuple[str, ...]) -> Iterator[Leaf]:
    hints = get_type_hints(section, include_extras=True)
    for each in fields(section):
        hint = hints[each.name]
        inner = (*path, each.name)
        if is_dataclass(hint) and isinstance(hint, type):
            yield from _leaves_of(hint, inner)
            continue
        kind = next(extra for extra in get_args(hint)[1:] if isinstance(extra, Kind))
        yield Leaf(".".join(inner).replace("_ms", ""), inner, kind, _default_of(each))


def _default_of(each: Field[Any]) -> object:
    if each.default_factory is not MISSING:
        return each.default_factory()
    return each.default


def _read_file(file: Path) -> dict[str, object]:
    try:
        with file.open("rb") as stream:
            content = stream.read(CONFIG_BYTES_MAX + 1)
        if len(content) > CONFIG_BYTES_MAX:
            raise SettingsError((Problem(str(file), "the file is over 1 MiB", "name a configuration file"),))
        return tomllib.loads(content.decode())
    except OSError as error:
        remedy = "check the path and its permissions, or write one: garbagetruck config example"
        raise SettingsError((Problem(str(file), f"cannot be read: {error.strerror}", remedy),)) from error
    except UnicodeDecodeError as error:
        raise SettingsError((Problem(str(file), "is not UTF-8 text", "save it as UTF-8"),)) from error
    except (ValueError, RecursionError) as error:  # the others: a number of thousands of digits, tables a thousand deep
        raise SettingsError((Problem(str(file), f"is not TOML: {error}", "correct that line"),)) from error


def _flatten(table: Mapping[str, object], known: Mapping[str, Leaf], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in table.items():
        key = f"{prefix}{name}"
        is_section = any(each.startswith(f"{key}.") for each in known)
        if key not in known and isinstance(value, Mapping) and (value or is_section):
            yield from _flatten(value, known, f"{key}.")
        else:
            yield key, value


def _unknown(key: str, origin: Origin, known: Mapping[str, Leaf]) -> Problem:
    last = key.rpartition(".")[2]
    # A right name in the wrong table is told before a name that merely looks alike.
    near = [each for each in known if each.rpartition(".")[2] == last][:1]
    near = near or difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    remedy = f"did you mean {near[0]}?" if near else "remove it; docs/configuration.md lists every key"
    return Problem(key, f"is not a setting ({origin})", remedy)


def _missing(leaf: Leaf) -> Problem:
    return Problem(leaf.key, "must be given and has no default", f"set it in the file, or {leaf.variable}")


def _take(
    leaf: Leaf,
    raw: object,
    origin: Origin,
    environment: Mapping[str, str],
    values: dict[str, object],
    problems: list[Problem],
) -> None:
    """Parse one value into `values`, or say in `problems` why not."""
    try:
        if isinstance(leaf.kind, Handlers):
            values[leaf.key] = _take_handlers(leaf.kind.tables(raw), origin, environment, problems)
            return
        value = leaf.kind.parse(raw)
        if isinstance(value, Path):
            base = Path(origin.where).parent if origin.source == "file" else Path()
            value = Path(os.path.abspath(base / value))  # noqa: PTH100 - resolve() would follow links, and read the disk
    except InvalidValueError as error:
        problems.append(Problem(leaf.key + error.at, f"{error.problem} ({origin})", error.remedy))
    else:
        values[leaf.key] = value


def _take_handlers(
    tables: Mapping[str, object], origin: Origin, environment: Mapping[str, str], problems: list[Problem]
) -> Mapping[str, HandlerSettings]:
    """The handlers that can be read; of each of the others, say in `problems` why not."""
    handlers: dict[str, HandlerSettings] = {}
    for name, table in tables.items():
        try:
            handlers[name] = _with_secrets(parse_handler(name, table), environment)
        except InvalidValueError as error:
            problems.append(Problem(HANDLERS + error.at, f"{error.problem} ({origin})", error.remedy))
    return handlers


def _build(section: type, path: tuple[str, ...], values: Mapping[str, object]) -> object:
    arguments: dict[str, object] = {}
    hints = get_type_hints(section)
    for each in fields(section):
        inner = (*path, each.name)
        key = ".".join(inner).replace("_ms", "")
        if is_dataclass(hints[each.name]):
            arguments[each.name] = _build(hints[each.name], inner, values)
        elif key in values:
            arguments[each.name] = values[key]
    return section(**arguments)


def _with_secrets(handler: HandlerSettings, environment: Mapping[str, str]) -> HandlerSettings:
    options = {
        key: _resolve(key, value, environment, f".{handler.name}.{key}") for key, value in handler.options.items()
    }
    return replace(handler, options=options)


def _resolve(key: str, value: object, environment: Mapping[str, str], at: str) -> object:
    """Put the secret in the place of `{ file = "…" }` and `{ env = "…" }`, at any depth."""
    remedy = 'write { file = "/run/secrets/NAME" } or { env = "NAME" }'
    match value:
        case {"file": str(path), **rest} if not rest:
            return _secret_of_file(Path(path), at)
        case {"env": str(variable), **rest} if not rest:
            if variable not in environment:
                raise InvalidValueError(f"the variable {variable} is not set", "set it, or name another", at=at)
            return Secret(environment[variable])
        case Mapping():
            return {name: _resolve(str(name), each, environment, f"{at}.{name}") for name, each in value.items()}
        case list():
            return [_resolve(key, each, environment, f"{at}[{index}]") for index, each in enumerate(value)]
        case str() if looks_like_credential(key):
            raise InvalidValueError("a secret stands in the configuration itself", remedy, at=at)
        case _:
            return value


def _secret_of_file(path: Path, at: str) -> Secret:
    try:
        with path.open("rb") as stream:
            content = stream.read(SECRET_BYTES_MAX + 1)
        if len(content) > SECRET_BYTES_MAX:
            raise InvalidValueError(f"{path} is too long for a secret", "name the file of the secret", at=at)
        return Secret(content.decode().rstrip("\r\n"))
    except OSError as error:
        raise InvalidValueError(
            f"{path} cannot be read: {error.strerror}", "check the path and its mode", at=at
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidValueError(f"{path} is not UTF-8 text", "store the secret as text", at=at) from error


def _warn_of_variables(environment: Mapping[str, str], known: Mapping[str, Leaf]) -> Iterator[str]:
    """A variable that nearly names a setting is told, not refused: platforms inject variables of their own making."""
    variables = [leaf.variable for leaf in known.values()]
    for variable in sorted(environment):
        if not variable.startswith(VARIABLE_PREFIX) or variable in variables:
            continue
        near = difflib.get_close_matches(variable, variables, n=1, cutoff=0.85)
        if near:
            yield f"the variable {variable} is not a setting; did you mean {near[0]}?"
