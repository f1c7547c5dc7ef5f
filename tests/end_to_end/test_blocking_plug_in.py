"""A plug-in that blocks its loop for minutes, in a real node: everything else goes on, and the node still stops."""

import asyncio
import os
import time
from pathlib import Path

import garbagetruck
from garbagetruck.client import ResourceState
from garbagetruck.cluster.cleanup.registry import ENTRY_POINT_GROUP
from garbagetruck.cluster.node.local.layout import UpOptions, plan, prepare
from tests.cluster_fixtures.ports import free_base_port
from tests.end_to_end.test_installed_handler import PATIENCE_S, node

PLUG_IN = """
import time

from garbagetruck.cluster.cleanup.handler import Handler


class Blocking(Handler):
    scheme = "blocking"

    def canonical_target(self, parameters):
        return "blocking:/" + parameters["name"]

    async def clean(self, call):
        with open(self.told, "a") as told:
            print(call.resource, file=told)
        time.sleep(600)


def make(options, name):
    made = Blocking()
    made.told = options["told"]
    return made
"""


def install(folder: Path) -> dict[str, str]:
    """The environment of a process for which the plug-in is installed."""
    distribution = folder / "garbagetruck_blocking-1.dist-info"
    distribution.mkdir(parents=True)
    (folder / "garbagetruck_blocking.py").write_text(PLUG_IN)
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: garbagetruck-blocking\nVersion: 1\n")
    (distribution / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\nblocking = garbagetruck_blocking:make\n")
    return {**os.environ, "PYTHONPATH": str(folder)}


async def test_a_node_with_a_plug_in_that_blocks_goes_on_renewing_cleaning_and_stops(tmp_path: Path) -> None:
    environment = install(tmp_path / "installed")
    told, handlers = tmp_path / "told", tmp_path / "handlers.toml"
    handlers.write_text(f'[handlers.blocking]\ntold = "{told}"\nattempt_timeout = "1s"\n')
    options = UpOptions(data_dir=tmp_path / "cluster", nodes=1, base_port=free_base_port(1), handlers=handlers)
    options.data_dir.mkdir()
    cluster = plan(options, new_cluster_id="tests")
    prepare(cluster, options)
    files = options.data_dir / "files"
    with node(cluster.nodes[0].config, environment):
        async with garbagetruck.connect(cluster.nodes[0].api, timeout=PATIENCE_S) as truck:
            stuck = await truck.acquire(
                "stuck", holder="tests", ttl=PATIENCE_S, cleanup=garbagetruck.Cleanup("blocking", name="stuck")
            )
            kept = await truck.acquire("kept", holder="tests", ttl=PATIENCE_S)
            await truck.release(stuck.id)
            async with asyncio.timeout(PATIENCE_S):
                while not told.exists():  # noqa: ASYNC110 - nothing else tells
                    await asyncio.sleep(0.05)
            for number in range(10):
                (files / str(number)).write_text("x")
                cleanup = garbagetruck.Cleanup("file", path=str(number))
                lease = await truck.acquire(f"files/{number}", holder="tests", ttl=PATIENCE_S, cleanup=cleanup)
                await truck.release(lease.id)
            async with asyncio.timeout(PATIENCE_S):
                while any(files.glob("[0-9]")):
                    await truck.renew(kept.id)
                    await asyncio.sleep(0.05)
                while (await truck.resources.get("stuck")).state is not ResourceState.DUE:  # noqa: ASYNC110 - likewise
                    await asyncio.sleep(0.05)  # until its attempt's time is over
        stopping_s = time.monotonic()
    assert time.monotonic() - stopping_s < PATIENCE_S, "the node does not wait for the plug-in"
    assert told.read_text().split() == ["stuck"]
