"""The `garbagetruck` command: puts the commands together and knows nothing of what they do."""

import typer

from garbagetruck import __version__
from garbagetruck.cli import (
    cleanup,
    config,
    leader,
    lease,
    lease_exec,
    member,
    namespace,
    resource,
    session,
    snapshot,
    status,
    tls,
    watch,
)
from garbagetruck.cli.bench.command import register as register_bench
from garbagetruck.cli.invocation import examples_text
from garbagetruck.cli.render import say
from garbagetruck.cli.serve import register as register_serve
from garbagetruck.cli.up import register as register_up

app = typer.Typer(
    name="garbagetruck",
    help="Leases on external resources: what nobody holds any more is cleaned up.",
    epilog="Every flag has a variable: GARBAGETRUCK_ENDPOINTS for --endpoints. docs/cli.md tells of all commands.",
    no_args_is_help=True,
    context_settings={"auto_envvar_prefix": "GARBAGETRUCK", "help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    # Plain text: help and errors are piped, searched and read over slow lines.
    rich_markup_mode=None,
)
register_up(app)
register_serve(app)
status.register(app)
lease_exec.register(lease.app)
app.add_typer(lease.app, name="lease")
app.add_typer(session.app, name="session")
app.add_typer(resource.app, name="resource")
app.add_typer(cleanup.app, name="cleanup")
app.add_typer(namespace.app, name="namespace")
app.add_typer(member.app, name="member")
app.add_typer(snapshot.app, name="snapshot")
app.add_typer(leader.app, name="leader")
watch.register(app)
register_bench(app)
app.add_typer(config.app, name="config")
app.add_typer(tls.app, name="tls")


@app.command("version", epilog=examples_text(["garbagetruck version"]))
def version() -> None:
    """Print the version."""
    say(__version__)
