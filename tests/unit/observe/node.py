"""A node as it says it is."""

from dataclasses import replace
from typing import Any

from garbagetruck.cluster.observe.facts import ArchiveFacts, NodeFacts

LEADER_OF_THREE = NodeFacts(
    cluster_id="c-1",
    node_id="n1",
    version="0.1.0",
    role="leader",
    leader_id="n1",
    term=3,
    commit_index=42,
    applied_index=40,
    last_index=43,
    clock_ms=1_000,
    operations_waiting=0,
    batches_in_flight=1,
    storage_low=False,
    peers_connected=2,
    feature_level=2,
    digest_agreed_index=960,
    digest_differences=0,
    cleanups_held=False,
    not_ready=(),
    archive=ArchiveFacts(archived_index=39, lag_s=0.25),
)


def a_node(**differently: Any) -> NodeFacts:
    return replace(LEADER_OF_THREE, **differently)
