"""What `snapshot restore` tells when it is done: what was restored, how far, what may be missing, and what to do next."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from garbagetruck.cli.invocation import Invocation
from garbagetruck.cli.render import Column, Fields, note, print_done, print_rows
from garbagetruck.cli.snapshot_rows import time_of

if TYPE_CHECKING:
    from garbagetruck.cluster.node.recovery.restore import Restored
    from garbagetruck.cluster.node.recovery.source import Source
    from garbagetruck.cluster.node.recovery.stored import StoredSource

REPORT = (Column("RESTORED", lambda row: row["what"]), Column("", lambda row: row["value"]))


def report(invocation: Invocation, restored: "Restored[Any]", config: Path) -> None:
    fields = _restored(restored, config)
    if invocation.output in {"table", "wide"}:
        rows = [{"what": key.replace("_", " "), "value": value} for key, value in _flat(fields)]
        print_rows(invocation.output, rows, REPORT, "what")
        note(fields["may_be_missing"])
        for step, each in enumerate(fields["next"], start=1):
            note(f"{step}. {each}")
    else:
        print_done(invocation.output, fields, "data_dir", "")


def _flat(fields: Fields) -> list[tuple[str, object]]:
    plain = [(key, value) for key, value in fields.items() if not isinstance(value, dict | list)]
    source = [(f"from_{key}", value) for key, value in fields["source"].items()]
    return [*source, *((key, value) for key, value in plain if key != "may_be_missing")]


def _restored(restored: "Restored[Any]", config: Path) -> dict[str, Any]:
    from garbagetruck.cluster.node.recovery.stored import StoredSource

    source, holds = restored.source, restored.holds
    return {
        "cluster_id": restored.cluster_id,
        "incarnation": restored.incarnation,
        "node_id": restored.node_id,
        "data_dir": str(restored.data_dir),
        "source": _source(source),
        "leases": holds.leases,
        "sessions": holds.sessions,
        "resources": holds.resources,
        "orphaned": holds.orphaned,
        "due": holds.due,
        "dead_letters": holds.dead_letter,
        "claims_voided": restored.claims_voided,
        "entries_beyond_commit": 0 if isinstance(source, StoredSource) else source.entries_beyond_commit,
        "wait_ms": restored.wait_ms,
        "may_be_missing": _missing(restored),
        "next": _next(restored, config),
    }


def _next(restored: "Restored[Any]", config: Path) -> list[str]:
    wait = f"cleanups begin {restored.wait_ms} ms of cluster time after that"
    join = f"serve --join with an empty folder and cluster.incarnation = {restored.incarnation}"
    return [
        f"garbagetruck serve --config {config}, with node.data_dir = {str(restored.data_dir)!r}: it serves alone",
        "garbagetruck status; lease list; cleanup list: look whether it is what you expect",
        f"garbagetruck cleanup resume --all-namespaces, when holders and handlers are back; {wait}",
        f"garbagetruck member add, then {join}, for each other node",
    ]


def _source(source: "Source | StoredSource") -> dict[str, Any]:
    from garbagetruck.cluster.node.recovery.source import Source

    common = {"last_index": source.last_index, "term": source.term, "clock_ms": source.state.clock_ms}
    if isinstance(source, Source):
        return {
            "data_dir": str(source.folder),
            "node_id": source.identity.node_id,
            "incarnation": source.identity.incarnation,
            "commit_index": source.commit_index,
            **common,
            "written_at": time_of(source.written_s),
        }
    header = source.snapshot and source.snapshot.header
    return {
        "storage": source.location,
        "incarnation": source.incarnation,
        "snapshot_id": header and header.snapshot_id,
        "snapshot_index": header and header.index,
        "snapshots_damaged": " ".join(source.snapshots_damaged),
        "archive_last_index": source.archive_last_index,
        **common,
        "written_at": None if source.written_ms is None else time_of(source.written_ms / 1_000),
    }


def _missing(restored: "Restored[Any]") -> str:
    from garbagetruck.cluster.node.recovery.stored import StoredSource

    source = restored.source
    if isinstance(source, StoredSource):
        return _missing_in_storage(source)
    beyond = source.entries_beyond_commit
    taken = (
        f" {beyond} entries of it were not known there to be committed, and were taken: whoever waited for them may have"
        " been told otherwise."
        if beyond
        else ""
    )
    return (
        f"What the other nodes acknowledged after entry {source.last_index}, and {source.identity.node_id} never got, is"
        f" missing; it last wrote at {time_of(source.written_s)}.{taken}"
    )


def _missing_in_storage(source: "StoredSource") -> str:
    when = "" if source.written_ms is None else f", which was written at {time_of(source.written_ms / 1_000)}"
    told = f"What was acknowledged after entry {source.last_index}{when}, is missing"
    if source.last_index < source.archive_last_index:
        told += f", as far as the archive has more: it goes on to entry {source.archive_last_index}"
    return (
        f"{told}; and whatever was acknowledged and not archived yet: about a second of it, or as much as the lag was."
    )
