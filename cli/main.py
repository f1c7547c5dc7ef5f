"""The `garbagetruck` command: puts the commands together and knows nothing of what they do."""

import typer

from garbagetruck import __version__
from garbagetruck.cli import config, lease, status
from garbagetruck.cli.bench.command import bench
from garbagetruck.cli.serve import serve
from garbagetruck.cli.up import up

app = typer.Typer(
    name="garbagetruck",
    help="Leases on external resources: what nobody holds any more is cleaned up.",
    no_args_is_help=True,
    context_settings={"auto_envvar_prefix": "GARBAGETRUCK", "help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
app.command("up")(up)
app.command("serve")(serve)
app.command("bench")(bench)
status.register(app)
app.add_typer(lease.app, name="lease")
app.add_typer(config.app, name="config")


@app.command("version")
def version() -> None:
    """Print the version. Example: garbagetruck version"""
    typer.echo(__version__)


def main() -> None:
    """Entry point of the console script."""
    app()
