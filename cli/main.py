"""The entry point of the `garbagetruck` command.

Duty: be there before everything else is imported, so that Ctrl-C is quiet from the start. The commands are in `app`.
"""

import errno
import io
import os
import sys

FAILED, INTERRUPTED = 1, 130
"""As in `Exit`, which is not imported yet."""
UNWRITABLE = frozenset({errno.ENOSPC, errno.EIO, errno.EBADF, errno.EDQUOT})
"""How standard output fails when help is printed to it; for everything else see `render.say`."""


def main() -> None:
    """Run the command line of this process, and end it."""
    # gRPC tells of every lost connection on standard error by itself; what matters of it is told by us.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    try:
        from garbagetruck.cli.app import app

        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        sys.stderr.write(f"Error: nothing can be written to standard output: {error.strerror}\n")
        os._exit(FAILED)  # an orderly exit would try to write what is left, and complain again
