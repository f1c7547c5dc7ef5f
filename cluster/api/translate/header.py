"""Where an answer comes from, how fresh it has to be, and small things that every noun shares."""

from collections.abc import Mapping

from garbagetruck.cluster.api.errors import invalid
from garbagetruck.cluster.api.gateway import Consistency, Header, ReadView
from garbagetruck.cluster.machine.model import DEFAULT_NAMESPACE, Labels
from garbagetruck.v1 import header_pb2

CONSISTENCIES: Mapping[int, Consistency] = {
    header_pb2.READ_CONSISTENCY_UNSPECIFIED: Consistency.LINEARIZABLE,
    header_pb2.READ_CONSISTENCY_LINEARIZABLE: Consistency.LINEARIZABLE,
    header_pb2.READ_CONSISTENCY_STALE: Consistency.STALE,
}


def mutation_header(header: Header) -> header_pb2.ResponseHeader:
    """For an answer that an operation of this very call was applied for."""
    return header_pb2.ResponseHeader(
        cluster_id=header.cluster_id,
        node_id=header.node_id,
        leader_id=header.leader_id,
        term=header.term,
        applied_index=header.applied_index,
        clock_ms=header.clock_ms,
        incarnation=header.incarnation,
    )


def read_header(header: Header, view: ReadView) -> header_pb2.ResponseHeader:
    """For an answer out of `view`. An unknown age is told as the cluster's whole time: as old as it can be."""
    return header_pb2.ResponseHeader(
        cluster_id=header.cluster_id,
        node_id=header.node_id,
        leader_id=header.leader_id,
        term=header.term,
        applied_index=view.applied_index,
        clock_ms=view.clock_ms,
        age_ms=view.age_ms if view.age_ms >= 0 else max(view.clock_ms, 1),
        incarnation=header.incarnation,
    )


def consistency(asked: int) -> Consistency:
    try:
        return CONSISTENCIES[asked]
    except KeyError:
        raise invalid("consistency", f"is {asked}, which this version does not know") from None


def namespace(asked: str) -> str:
    return asked or DEFAULT_NAMESPACE


def labels(pairs: Mapping[str, str]) -> Labels:
    """A map of the wire as the machine keeps it: sorted pairs."""
    return tuple(sorted(pairs.items())) if pairs else ()


def remaining(remaining_ms: tuple[int, ...]) -> tuple[int, ...]:
    """What is left of each lease or session, as the API says it: 0 where the machine, having refused, says -1."""
    return remaining_ms if min(remaining_ms, default=0) >= 0 else tuple(max(0, each) for each in remaining_ms)
