"""Cleanup calls as the executor makes them, and a handler over a folder of its own.

Duty: let a test say "this claim cleans that path" in a line. It must not know: how the handler removes things.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from garbagetruck.cluster.cleanup.attempt import idempotency_key
from garbagetruck.cluster.cleanup.handler import CleanupCall, CleanupResult, Handler
from garbagetruck.cluster.cleanup.handlers.file import FileHandler, file_handlers
from garbagetruck.cluster.cleanup.running import run_directly

CLUSTER_ID = "cluster-1"


def call_of(
    handler: Handler,
    parameters: Mapping[str, str],
    *,
    token: int = 100,
    identity: str = "",
    generation: int = 7,
    attempt: int = 1,
    resource: str = "r",
    cluster_id: str = CLUSTER_ID,
    remaining_s: Callable[[], float] = lambda: 30.0,
    still_leading: Callable[[], bool] = lambda: True,
) -> CleanupCall:
    return CleanupCall(
        cluster_id=cluster_id,
        namespace="default",
        resource=resource,
        generation=generation,
        parameters=parameters,
        target=handler.canonical_target(parameters),
        fencing_token=token,
        idempotency_key=idempotency_key(cluster_id, "default", resource, generation),
        identity=identity,
        attempt=attempt,
        remaining_s=remaining_s,
        still_leading=still_leading,
    )


async def clean(
    handler: Handler, path: str, *, token: int = 100, generation: int = 7, attempt: int = 1
) -> CleanupResult:
    """Observe and clean, as one attempt does."""
    parameters = {"path": path}
    identity = await handler.observe(parameters)
    call = call_of(handler, parameters, token=token, identity=identity, generation=generation, attempt=attempt)
    return await handler.clean(call)


@asynccontextmanager
async def file_handler(root: Path, *, directories: bool = False) -> AsyncIterator[FileHandler]:
    """A started `file` handler; each stands for a process of its own, with its own descriptors and locks."""
    handler = file_handlers(run_directly)({"roots": [str(root)], "directories": directories}, "file")
    await handler.start()
    try:
        yield handler
    finally:
        await handler.stop()


def names_in(root: Path) -> set[str]:
    """Everything below a root but the fence."""
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.name.startswith(".garbagetruck-fence-")}
