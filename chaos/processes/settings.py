"""What the nodes of a chaos cluster are configured with.

Duty: small bounds, so that what takes long elsewhere happens within a short run; and the ways through our wires.
Must not know: processes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit

from garbagetruck.chaos.processes import vault_handler
from garbagetruck.chaos.processes.wires import Kind, Wires
from garbagetruck.cluster.node.local import layout

Settings = Mapping[str, Mapping[str, Any]]
"""By section."""
SETTINGS: Settings = {
    # Small ones, so that segments are finished and snapshots taken within a short run.
    "raft": {"segment_bytes": 1 << 18, "snapshot_entries": 1_000, "free_bytes_alarm": 0},
    "node": {"drain_timeout": "5s"},
    # A claim whose executor was killed stands until its deadline, and a second longer.
    "cleanup": {"attempt_timeout": "2s"},
}
CALM: Settings = {
    "raft": {"election_timeout_min": "1500ms", "election_timeout_max": "2500ms", "leader_fallback": "1500ms"}
}
"""For stories in which nobody may be deposed: a busy machine stands still for longer than the defaults take for life."""


def reconfigure(node: layout.LocalNode, wires: Wires, *, founders: int, vault: Path, settings: Settings) -> None:
    """Let a node find its peers at our wires, and listen where it would anyway. It is told of that many members, and
    of the vault.
    """
    content = tomlkit.parse(node.config.read_text(encoding="utf-8")).unwrap()
    others = [each for each in wires.nodes if each != node.id]
    content["cluster"]["members"] = content["cluster"]["members"][:founders]
    for kind in Kind:
        ways = [f"{each}={wires.address(node.id, each, kind)}" for each in others]
        content["node"][f"{kind.value}_routes"] = ways
    content["handlers"]["vault"] = {"kind": vault_handler.KIND, "folder": str(vault)}
    for section, values in (*SETTINGS.items(), *settings.items()):
        content.setdefault(section, {}).update(values)
    node.config.write_text(tomlkit.dumps(content), encoding="utf-8")
