"""Registered statements: what clients may name, and what is run for it.

Duty: make statements of the operator's tables, once; find the one that a client names, and bring its parameters into order.
Invariants: a client chooses a statement's name and values, and nothing else; every placeholder is declared; a statement without
any fence is refused unless the operator says that it has none.
Must not know: connections.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from garbagetruck.cluster.cleanup.handler import InvalidParametersError
from garbagetruck.cluster.cleanup.handlers.sql.options import SqlOptions, StatementOptions, StepOptions
from garbagetruck.cluster.cleanup.handlers.sql.parameters import BUILT_IN, ParameterKind, spelled
from garbagetruck.cluster.cleanup.handlers.sql.placeholders import SqlText, SqlTextError, read_sql
from garbagetruck.cluster.cleanup.settings import HandlerSettingsError

SCHEME = "sql"
STATEMENTS_MAX = 100
STEPS_MAX = 16
PARAMETERS_MAX = 16
TARGET_PARTS_MAX = 32
ROWS_MAX = 1_000_000

STATEMENT = "statement"
"""The parameter by which a client names a statement."""
FENCING_TOKEN = "fencing_token"  # noqa: S105 - a parameter's name

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}", re.ASCII)
_PLAIN = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,127}", re.ASCII)
_CHANGING = frozenset({"DELETE", "UPDATE", "INSERT", "MERGE", "WITH", "SELECT"})
_READING = frozenset({"SELECT", "WITH"})


@dataclass(frozen=True, slots=True)
class Step:
    """One statement of a transaction, and how many rows it may touch."""

    sql: SqlText
    rows_min: int
    rows_max: int


@dataclass(frozen=True, slots=True)
class Statement:
    """What a client names."""

    name: str
    parameters: Mapping[str, ParameterKind]
    target_parts: tuple[str, ...]
    """Segments of the target: plain text, or a parameter's name behind a colon."""
    observe: SqlText | None
    """Selects what is there to be removed."""
    steps: tuple[Step, ...]

    def values(self, given: Mapping[str, str]) -> dict[str, str]:
        """The client's values, each in its one spelling. Raises `InvalidParametersError`."""
        for name in given:
            if name not in self.parameters and name != STATEMENT:
                known = ", ".join(self.parameters) or "none"
                raise InvalidParametersError(name, f"is not a parameter of {self.name}", f"its parameters are {known}")
        values: dict[str, str] = {}
        for name, kind in self.parameters.items():
            if name not in given:
                raise InvalidParametersError(name, "is missing", f"{self.name} needs it, as {kind.value}")
            values[name] = spelled(kind, name, given[name])
        return values

    def target(self, values: Mapping[str, str]) -> str:
        """The path of the target within its database."""
        return "/".join(_segment(values[part[1:]]) if part.startswith(":") else part for part in self.target_parts)


class Catalogue:
    """All statements of a handler. Pure."""

    def __init__(self, handler: str, options: SqlOptions) -> None:
        """Raises `HandlerSettingsError`."""
        if not 1 <= len(options.statements) <= STATEMENTS_MAX:
            problem, remedy = f"there are {len(options.statements)}", f"register 1 to {STATEMENTS_MAX}"
            raise HandlerSettingsError(handler, "statements", problem, remedy)
        self._database = options.database or handler
        if not _PLAIN.fullmatch(self._database):
            remedy = "write a name of letters, digits, `.`, `_`, `~` and `-`"
            raise HandlerSettingsError(handler, "database", "is not a plain name", remedy)
        self.statements = {name: _Reader(handler, name, each).read() for name, each in options.statements.items()}

    def find(self, given: Mapping[str, str]) -> Statement:
        """The statement that a client names. Raises `InvalidParametersError`."""
        known = ", ".join(self.statements)
        if STATEMENT not in given and len(self.statements) == 1:
            return next(iter(self.statements.values()))
        found = self.statements.get(given.get(STATEMENT, ""))
        if found is None:
            problem = "is not registered" if STATEMENT in given else "is missing"
            raise InvalidParametersError(STATEMENT, problem, f"name one of {known}")
        return found

    def target(self, given: Mapping[str, str]) -> str:
        """The canonical target. Raises `InvalidParametersError`."""
        statement = self.find(given)
        return f"{SCHEME}:/{self._database}/{statement.target(statement.values(given))}"


@dataclass(frozen=True, slots=True)
class _Reader:
    handler: str
    name: str
    options: StatementOptions

    def read(self) -> Statement:
        if not _PLAIN.fullmatch(self.name):
            raise self._wrong("", "is not a plain name", "write letters, digits, `.`, `_`, `~` and `-`")
        options = self.options
        if len(options.parameters) > PARAMETERS_MAX:
            raise self._wrong("parameters", "are too many", f"declare at most {PARAMETERS_MAX}")
        for each in options.parameters:
            if not _NAME.fullmatch(each):
                raise self._wrong(f"parameters.{each}", "is not a plain name", "write a-z, 0-9 and _, a letter first")
            if each in BUILT_IN or each == STATEMENT:
                raise self._wrong(f"parameters.{each}", "has a meaning of its own here", "call it otherwise")
        observe = self._sql("observe", options.observe, _READING, ()) if options.observe else None
        if not 1 <= len(options.steps) <= STEPS_MAX:
            raise self._wrong("steps", f"has {len(options.steps)} entries", f"write 1 to {STEPS_MAX}")
        steps = tuple(self._step(f"steps[{at}]", each) for at, each in enumerate(options.steps))
        if not options.unfenced and observe is None:
            for at, step in enumerate(steps):
                if FENCING_TOKEN not in step.sql.names:
                    problem = "has no fence: a leader that was stopped could run it on rows that were made anew"
                    remedy = "compare a column with :fencing_token, or give `observe`, or say `unfenced = true`"
                    raise self._wrong(f"steps[{at}]", problem, remedy)
        kinds = dict(options.parameters)
        return Statement(self.name, kinds, self._target_parts(), observe, steps)

    def _step(self, option: str, step: StepOptions) -> Step:
        if not 0 <= step.rows_min <= step.rows_max <= ROWS_MAX:
            raise self._wrong(option, "has bounds of rows that do not fit", f"0 <= rows_min <= rows_max <= {ROWS_MAX}")
        return Step(self._sql(option, step.sql, _CHANGING, tuple(BUILT_IN)), step.rows_min, step.rows_max)

    def _sql(self, option: str, written: str, verbs: frozenset[str], built_in: tuple[str, ...]) -> SqlText:
        try:
            read = read_sql(written)
        except SqlTextError as error:
            raise self._wrong(option, error.problem, error.remedy) from error
        if read.verb not in verbs:
            raise self._wrong(option, f"begins with {read.verb or 'no word'}", f"begin it with {_listed(verbs)}")
        for name in read.names:
            if name not in self.options.parameters and name not in built_in:
                remedy = "declare it in `parameters`"
                if name in BUILT_IN:
                    remedy = "it is there for steps alone"
                raise self._wrong(option, f"names :{name}, which is not known here", remedy)
        return read

    def _target_parts(self) -> tuple[str, ...]:
        declared = self.options.parameters
        written = self.options.target or "/".join([self.name, *(f":{each}" for each in declared)])
        parts = tuple(written.split("/"))
        if len(parts) > TARGET_PARTS_MAX:
            raise self._wrong("target", "has too many segments", f"use at most {TARGET_PARTS_MAX}")
        for part in parts:
            if part.startswith(":") and part[1:] not in declared:
                raise self._wrong("target", f"names {part}, which is not declared", "declare it in `parameters`")
            if not part.startswith(":") and not _PLAIN.fullmatch(part):
                remedy = "write plain names and :parameters between slashes, as in uploads/:id"
                raise self._wrong("target", "has a segment that is not plain", remedy)
        return parts

    def _wrong(self, option: str, problem: str, remedy: str) -> HandlerSettingsError:
        full = f"statements.{self.name}" + (f".{option}" if option else "")
        return HandlerSettingsError(self.handler, full, problem, remedy)


def _segment(value: str) -> str:
    """A value as one segment of a target: a slash in it makes no second one, and no value is `.` or `..`."""
    encoded = quote(value, safe="")
    return encoded.replace(".", "%2E") if encoded in (".", "..") else encoded


def _listed(verbs: frozenset[str]) -> str:
    *others, last = sorted(verbs)
    return f"{', '.join(others)} or {last}"
