"""The `sql` handler: one attempt is one transaction of the operator's statements.

Duty: derive targets, observe, compare, run the steps within their bounds, commit or roll back.

What fences (I1, I5), in the place where the rows are:

- A step that compares a column with `:fencing_token` touches nothing that was written under a later lease.
- `observe` is run again in the transaction, and must find what was committed with the claim. All statements see one snapshot
  (connections.py): what is inserted afterwards is not seen, what is changed afterwards makes the transaction fail.

Invariants: all steps are committed, or none; each within its bounds of rows; `may_proceed` is asked before each step and before the
commit, and an attempt commits once. A client's value is never part of a statement's text.
Must not know: the driver.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from garbagetruck.cluster.cleanup.handler import (
    ABSENT,
    NOT_OBSERVED,
    CleanupCall,
    CleanupResult,
    Handler,
    ObservationError,
)
from garbagetruck.cluster.cleanup.handlers.sql.options import Access, read_sql_options
from garbagetruck.cluster.cleanup.handlers.sql.parameters import built_in_values
from garbagetruck.cluster.cleanup.handlers.sql.statements import SCHEME, Catalogue, Statement
from garbagetruck.cluster.cleanup.running import RunBlocking
from garbagetruck.cluster.cleanup.settings import HandlerSettingsError

if TYPE_CHECKING:
    from garbagetruck.cluster.cleanup.handlers.sql.connections import Connections, Transaction

OBSERVED_ROWS_MAX = 1_000
CHECK_TIMEOUT_S = 20.0

STOPPED = "stopped before its end: out of time, or this node leads no more"


class _RolledBackError(Exception):
    """Ends the transaction, and carries the attempt's result out of it."""

    def __init__(self, error: str, *, retryable: bool) -> None:
        super().__init__(error)
        self.result = CleanupResult.failed(error, retryable=retryable)


class SqlHandler(Handler):
    """Runs registered statements in one database."""

    scheme: ClassVar[str] = SCHEME

    def __init__(self, access: Access, catalogue: Catalogue, run_blocking: RunBlocking) -> None:
        self._access = access
        self._catalogue = catalogue
        self._run_blocking = run_blocking
        self._connections: Connections | None = None

    @override
    def check(self) -> Sequence[str]:
        """Connects, and has the server read every statement. Blocks, and must not be called on a loop."""
        return asyncio.run(self._check())

    @override
    def canonical_target(self, parameters: Mapping[str, str]) -> str:
        return self._catalogue.target(parameters)

    @override
    async def start(self) -> None:
        await self._run_blocking(self._access.read_password)  # which is told now rather than at the first cleanup
        self._connections = await _opened(self._access)

    @override
    async def stop(self) -> None:
        connections, self._connections = self._connections, None
        if connections is not None:
            await connections.close()

    @override
    async def observe(self, parameters: Mapping[str, str]) -> str:
        from garbagetruck.cluster.cleanup.handlers.sql.connections import DatabaseError

        statement = self._catalogue.find(parameters)
        if statement.observe is None:
            return NOT_OBSERVED
        assert self._connections is not None, "the handler was started"
        try:
            async with self._connections.transaction(statement.parameters, readonly=True) as transaction:
                return await _identity(transaction, statement, statement.values(parameters))
        except _RolledBackError as ended:
            raise ObservationError(ended.result.error, retryable=ended.result.retryable) from ended
        except DatabaseError as error:
            raise ObservationError(str(error), retryable=error.retryable) from error

    @override
    async def clean(self, call: CleanupCall) -> CleanupResult:
        from garbagetruck.cluster.cleanup.handlers.sql.connections import DatabaseError

        assert self._connections is not None, "the handler was started"
        statement = self._catalogue.find(call.parameters)
        try:
            async with self._connections.transaction(statement.parameters) as transaction:
                return await _run(transaction, statement, call)
        except _RolledBackError as ended:
            return ended.result
        except DatabaseError as error:
            return CleanupResult.failed(str(error), retryable=error.retryable)

    async def _check(self) -> list[str]:
        from garbagetruck.cluster.cleanup.handlers.sql.connections import DatabaseError

        problems: list[str] = []
        connections = None
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                self._access.read_password()
                connections = await _opened(self._access)
                for statement in self._catalogue.statements.values():
                    problems += await _problems_with(connections, statement)
        except (DatabaseError, HandlerSettingsError) as error:
            problems.append(str(error))
        except TimeoutError:
            problems.append(f"the database did not answer in {CHECK_TIMEOUT_S:g} s; see that it can be reached")
        finally:
            if connections is not None:
                await connections.close()
        return problems


def sql_handlers(run_blocking: RunBlocking) -> Callable[[Mapping[str, object], str], SqlHandler]:
    """The factory of `sql` handlers. It raises `HandlerSettingsError`."""

    def make(options: Mapping[str, object], name: str) -> SqlHandler:
        if find_spec("asyncpg") is None:
            raise HandlerSettingsError(
                name, "kind", "needs asyncpg, which is not installed", "install garbagetruck[postgres]"
            )
        read, access = read_sql_options(name, options)
        return SqlHandler(access, Catalogue(name, read), run_blocking)

    return make


async def _opened(access: Access) -> "Connections":
    from garbagetruck.cluster.cleanup.handlers.sql.connections import Connections  # the driver is an extra

    connections = Connections(access)
    await connections.open()
    return connections


async def _problems_with(connections: "Connections", statement: Statement) -> list[str]:
    """What the server has against each text; raises what concerns the whole database."""
    from garbagetruck.cluster.cleanup.handlers.sql.connections import DatabaseError

    texts = [(f"steps[{at}]", step.sql) for at, step in enumerate(statement.steps)]
    texts += [("observe", statement.observe)] if statement.observe is not None else []
    problems = []
    async with connections.transaction(statement.parameters, readonly=True):
        pass  # so that an error below is the statement's
    for option, sql in texts:
        try:
            async with connections.transaction(statement.parameters, readonly=True) as transaction:
                await transaction.prepare(sql)
                await transaction.rehearse(sql)
        except DatabaseError as error:
            problems.append(f"statements.{statement.name}.{option}: {error}")
    return problems


async def _run(transaction: "Transaction", statement: Statement, call: CleanupCall) -> CleanupResult:
    """All of one attempt but its commit. Raises `_RolledBackError`, `DatabaseError`."""
    given = statement.values(call.parameters)
    values = {**given, **built_in_values(call)}
    before = await _identity(transaction, statement, given)
    if before != call.identity:
        message = f"changed since it was observed: it was {call.identity or 'absent'}, and is {before or 'absent'}"
        raise _RolledBackError(message, retryable=True)
    touched = 0
    for at, step in enumerate(statement.steps):
        prepared = await transaction.prepare(step.sql)
        _proceed(call)
        rows = await prepared.change(values)
        if not step.rows_min <= rows <= step.rows_max:
            message = f"steps[{at}] of {statement.name} touches {rows} rows, not {step.rows_min} to {step.rows_max}"
            raise _RolledBackError(f"{message}; nothing was changed", retryable=False)
        touched += rows
    if await _identity(transaction, statement, given) not in (ABSENT, NOT_OBSERVED):
        message = (
            f"{statement.name} leaves rows that it shall remove, as its `observe` finds: they may bear a token that "
        )
        raise _RolledBackError(f"{message}is not lower than {call.fencing_token}; nothing was changed", retryable=True)
    _proceed(call)
    return CleanupResult.done() if touched else CleanupResult.already_gone()


def _proceed(call: CleanupCall) -> None:
    if not call.may_proceed():
        raise _RolledBackError(STOPPED, retryable=True)


async def _identity(transaction: "Transaction", statement: Statement, values: Mapping[str, str]) -> str:
    """What `observe` finds, as a digest of its rows in whatever order they come."""
    if statement.observe is None:
        return NOT_OBSERVED
    prepared = await transaction.prepare(statement.observe)
    rows = await prepared.rows(values, OBSERVED_ROWS_MAX + 1)
    if not rows:
        return ABSENT
    if len(rows) > OBSERVED_ROWS_MAX:
        message = (
            f"observe of {statement.name} finds more than {OBSERVED_ROWS_MAX} rows; let it select what sums them up"
        )
        raise _RolledBackError(message, retryable=False)
    digest = hashlib.blake2b("\n".join(sorted(map(repr, rows))).encode("utf-8", "surrogatepass"), digest_size=16)
    return f"{len(rows)} rows {digest.hexdigest()}"
