"""The entry point of the `garbagetruck` command.

Duty: be there before everything else is imported, so that Ctrl-C is quiet from the start. The commands are in `app`.
"""

import io
import sys

INTERRUPTED = 130
"""As `Exit.INTERRUPTED`, which is not imported yet."""


def main() -> None:
    """Run the command line of this process, and end it."""
    try:
        from garbagetruck.cli.app import app

        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
