"""Documents made from the settings themselves: the example file, and the table of docs/configuration.md.

Duty: text for people that cannot disagree with the code. Invariant: pure; the example file loads as it stands.
Must not know: where the text goes.
"""

import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, fields

from garbagetruck.cluster.node.config.loading import Leaf, leaves
from garbagetruck.cluster.node.config.settings import NodeSettings
from garbagetruck.cluster.node.config.values import Endpoint

_EXAMPLE_MEMBERS = """\
[[cluster.members]]
id = "n1"
api = "127.0.0.1:7101"
http = "127.0.0.1:7201"
raft = "127.0.0.1:7301"
peer = "127.0.0.1:7501"

[[cluster.members]]
id = "n2"
api = "127.0.0.1:7102"
http = "127.0.0.1:7202"
raft = "127.0.0.1:7302"
peer = "127.0.0.1:7502"

[[cluster.members]]
id = "n3"
api = "127.0.0.1:7103"
http = "127.0.0.1:7203"
raft = "127.0.0.1:7303"
peer = "127.0.0.1:7503"
"""

_EXAMPLE_HANDLERS = """\
[handlers.file]
roots = ["/srv/files"]
"""

_PREAMBLE = """\
# Configuration

<!-- Made by tools/generate_reference.py from cluster/node/config/settings.py; a test keeps it fresh. -->

A node reads a TOML file (`serve --config FILE`), then the environment, then flags. A flag beats a variable, a variable
beats the file, the file beats the default; `garbagetruck config show --origin` tells where each value came from, and
`garbagetruck config check` says everything that is wrong at once. An unknown key is refused.

The variable of a key is its name in capitals behind `GARBAGETRUCK_`, with `_` for `.`: `raft.heartbeat` is
`GARBAGETRUCK_RAFT_HEARTBEAT`. Its flag is `--raft-heartbeat`. Members and handlers are written as JSON there. Durations
carry their unit: `1500ms`, `30s`, `5m`, `2h`, `7d`. A relative path in a file is meant from that file's folder.

Secrets never stand in the configuration: wherever a handler's option wants one, write `{ file = "/run/secrets/NAME" }`
or `{ env = "NAME" }`. They are shown nowhere.

What all nodes decide by (namespaces' limits, the brake, retries, bounds of a TTL) is not configured here: it is part of
the replicated state, and changed with `garbagetruck namespace set`.
"""


def render_example() -> str:
    """A complete configuration file with every default, ready to be edited."""
    parts = ["# A node of a GarbageTruck cluster. docs/configuration.md tells more of each key.", ""]
    section = ""
    for leaf in leaves():
        head, _, last = leaf.key.rpartition(".")
        if head != section and head:
            section = head
            parts += [f"[{section}]"]
        parts += textwrap.wrap(leaf.kind.meaning, 118, initial_indent="# ", subsequent_indent="# ")
        if leaf.key == "cluster.members":
            parts += ["", _EXAMPLE_MEMBERS]
        elif leaf.key == "handlers":
            parts += [_EXAMPLE_HANDLERS]
        elif leaf.default is MISSING:
            parts += [f'{last} = "{leaf.kind.example}"', ""]
        elif leaf.default is None:
            parts += [f'# {last} = "{"HOST:PORT" if isinstance(leaf.kind, Endpoint) else "FILE"}"', ""]
        else:
            parts += [f"# {last} = {leaf.kind.show(leaf.default)}", ""]
    return "\n".join(parts)


def render_reference() -> str:
    """docs/configuration.md."""
    return "\n".join([_PREAMBLE, *_sections(), "## Example", "", "```toml", render_example().rstrip(), "```", ""])


def _sections() -> Iterator[str]:
    section = ""
    for leaf in leaves():
        head = leaf.key.partition(".")[0]
        if head != section:
            if section:
                yield ""
            section = head
            yield f"## `{section}`"
            yield ""
            yield from _introduction(section)
            yield "| key | takes | default | bounds | meaning |"
            yield "|---|---|---|---|---|"
        yield f"| `{leaf.key}` | {leaf.kind.takes} | {_default(leaf)} | {leaf.kind.bounds} | {leaf.kind.meaning} |"
    yield ""


def _introduction(section: str) -> Iterator[str]:
    """The first sentence of a section's class; a setting at the top, such as `handlers`, has none."""
    owner = next(each.type for each in fields(NodeSettings) if each.name == section)
    if isinstance(owner, type) and owner.__doc__:
        yield owner.__doc__.strip()
        yield ""


def _default(leaf: Leaf) -> str:
    if leaf.default is MISSING:
        return "required"
    return "see there" if leaf.default is None else f"`{leaf.kind.show(leaf.default).strip(chr(34))}`"
