"""`garbagetruck lease exec`: run a command while a lease is held."""

import sys
from typing import Annotated

import typer

from garbagetruck.cli.calling import call
from garbagetruck.cli.flags import MUTATION, duration
from garbagetruck.cli.holding import Holding, Told
from garbagetruck.cli.invocation import Invocation, command
from garbagetruck.cli.lease import CleanupText, Grace, Holder, Labels, Resource, Ttl, acquisition
from garbagetruck.cli.render import note
from garbagetruck.client import Truck

KILL_AFTER_DEFAULT = "5s"


def register(app: typer.Typer) -> None:
    """Add the command to `lease`."""
    command(
        app,
        "exec",
        flags=[MUTATION],
        examples=[
            "garbagetruck lease exec uploads/42 --ttl 30s --cleanup file:path=uploads/42 -- ./make-thumbnail",
            "garbagetruck lease exec nightly-report --ttl 10s --kill-after 30s -- sh -c './report && ./publish'",
        ],
    )(exec_)


def exec_(  # noqa: PLR0917  # typer reads flags from parameters
    invocation: Invocation,
    resource: Resource,
    argv: Annotated[list[str], typer.Argument(metavar="COMMAND", help="What to run, with its arguments, behind --.")],
    ttl: Ttl,
    holder: Holder = "",
    cleanup: CleanupText = None,
    label: Labels = None,
    grace: Grace = None,
    keep_resource: Annotated[
        bool,
        typer.Option("--keep-resource", help="When COMMAND succeeds, take the resource off the books: never clean it."),
    ] = False,
    kill_after: Annotated[
        int, duration(help="When the lease is lost: the time between SIGTERM and SIGKILL.")
    ] = KILL_AFTER_DEFAULT,  # type: ignore[assignment]  # typer runs the parser over defaults, too
) -> None:
    """Hold a lease while COMMAND runs, and release it after.

    COMMAND is started once the lease is held, and never when it is refused. It finds the lease in its environment:
    GARBAGETRUCK_LEASE_ID, GARBAGETRUCK_FENCING_TOKEN, GARBAGETRUCK_RESOURCE; and the cluster in GARBAGETRUCK_ENDPOINTS
    and GARBAGETRUCK_NAMESPACE. The lease is renewed after a third of its TTL. SIGINT, SIGTERM, SIGHUP and SIGQUIT are
    passed on.

    The exit code is COMMAND's, 128 + N when signal N killed it, 126 or 127 when it could not be started. When the
    lease is lost, COMMAND gets SIGTERM, and SIGKILL after --kill-after; then the exit code is 5.
    """
    wanted = acquisition(ttl, holder, cleanup, label, grace)

    async def work(truck: Truck) -> int:
        holding = Holding(
            truck,
            acquire=lambda: truck.acquire(resource, request_id=invocation.request_id, **wanted),
            argv=argv,
            environment={
                "GARBAGETRUCK_ENDPOINTS": invocation.endpoints,
                "GARBAGETRUCK_NAMESPACE": invocation.namespace,
            },
            keep_resource=keep_resource,
            kill_after_s=kill_after / 1_000,
            call_s_max=invocation.timeout_s,
            note=note,
        )
        try:
            return await holding.run()
        except Told as told:
            note(f"{told.number.name} before the command was started; if a lease was taken, it ends after its TTL")
            return 128 + told.number
        finally:
            sys.stdout.flush()

    raise typer.Exit(call(invocation, work))
