"""Certificates of an authority that a test makes up."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path

from garbagetruck.cli.certificates import make_authority, make_node, write
from garbagetruck.cluster.raft.tls import TlsFiles


def certificates(
    folder: Path, *node_ids: str, cluster_id: str = "c", days: int = 1, now: dt.datetime | None = None
) -> Callable[[str], TlsFiles]:
    """The files of each node, by its id."""
    folder.mkdir(exist_ok=True)
    now = now or dt.datetime.now(dt.UTC)
    authority = make_authority(cluster_id, now=now, days=days)
    write(folder, "ca", authority)
    for node_id in node_ids:
        write(folder, node_id, make_node(authority, cluster_id=cluster_id, node_id=node_id, now=now, days=days))

    def files(node_id: str) -> TlsFiles:
        return TlsFiles(folder / f"{node_id}.pem", folder / f"{node_id}.key", folder / "ca.pem")

    return files
