"""`python -m garbagetruck.cluster.node --config FILE [--bootstrap | --join]`: one node, without the command line's imports.

Duty: what `garbagetruck serve` does, for supervisors that start many processes. Must not know: anything else.
"""

import argparse
import os
import sys
from pathlib import Path

from garbagetruck.cluster.node.config.loading import load_settings
from garbagetruck.cluster.node.config.problems import SettingsError
from garbagetruck.cluster.node.lifecycle import EXIT_REFUSED, serve
from garbagetruck.cluster.node.world import SYSTEM_CLOCKS, Clocks
from garbagetruck.cluster.raft.disk import REAL_DISK, Disk


def main(disk: Disk = REAL_DISK, clocks: Clocks = SYSTEM_CLOCKS) -> int:
    """Run a node; the answer is the exit code. `disk` and `clocks` are for those who hurt nodes on purpose."""
    parser = argparse.ArgumentParser(prog="garbagetruck.cluster.node", description="Run one node of a cluster.")
    parser.add_argument("--config", type=Path, required=True, help="TOML file; see docs/configuration.md")
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument("--bootstrap", action="store_true", help="make this empty folder a node of a new cluster")
    begin.add_argument(
        "--join", action="store_true", help="make this empty folder a new node of a cluster that there is"
    )
    arguments = parser.parse_args()
    try:
        loaded = load_settings(arguments.config, os.environ)
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 - logging is not set up: its settings are what is wrong
        return EXIT_REFUSED
    return serve(
        loaded, bootstrap=arguments.bootstrap, join=arguments.join, environ=os.environ, disk=disk, clocks=clocks
    )


if __name__ == "__main__":
    sys.exit(main())
