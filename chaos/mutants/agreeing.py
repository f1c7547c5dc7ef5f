"""Mutants of what keeps one history across states and versions: digests and feature levels (I3, hazard 10)."""

from typing import Any

from garbagetruck.chaos.mutants.mutant import by_test, mutant
from garbagetruck.chaos.mutants.patch import Patch
from garbagetruck.cluster.machine import codec, digests, features
from garbagetruck.cluster.machine.request_table import RequestTable
from garbagetruck.cluster.machine.tables import Table
from garbagetruck.cluster.node.digests import DigestWatch


@mutant(
    guard="digests: the first difference pauses",
    breaks="I3",
    catcher=by_test(
        "unit/machine/test_digests.py::test_i3_the_first_difference_pauses_every_cleanup_in_the_same_entry"
    ),
)
def a_difference_pauses_nothing(patch: Patch) -> None:
    """Nodes that have different states go on cleaning."""
    patch.setattr(digests, "_pause", lambda state, told: None)


@mutant(
    guard="digests: a node that most contradict ends",
    breaks="I3",
    catcher=by_test(
        "unit/node/test_digests.py::test_i3_a_follower_that_went_another_way_stops_cleaning_at_once_then_all_do_then_it_ends"
    ),
)
def a_node_that_is_wrong_goes_on(patch: Patch) -> None:
    """A node with another state than most others goes on answering."""
    patch.setattr(DigestWatch, "_is_wrong", lambda self, noted, own: False)


@mutant(
    guard="digests: this node's own word holds its cleanups",
    breaks="I1",
    catcher=by_test(
        "unit/node/test_digests.py::test_i3_a_follower_that_went_another_way_stops_cleaning_at_once_then_all_do_then_it_ends"
    ),
)
def a_node_in_doubt_goes_on_cleaning(patch: Patch) -> None:
    """A node that knows of a difference waits for the log to pause it."""
    patch.setattr(DigestWatch, "_hold", lambda self, noted, node_id, digest: None)


@mutant(
    guard="digests: all of the state",
    breaks="I3",
    catcher=by_test("unit/machine/test_digest.py::test_i3_a_request_counts_for_as_long_as_it_is_remembered"),
)
def requests_are_in_no_digest(patch: Patch) -> None:
    """Two nodes that remember different requests have one digest."""
    patch.setattr(RequestTable, "_count", lambda self, change: None)


@mutant(
    guard="digests: all of the state",
    breaks="I3",
    catcher=by_test("unit/machine/test_digest.py::test_i3_what_a_namespace_is_set_to_counts"),
)
def namespaces_are_in_no_digest(patch: Patch) -> None:
    """Two nodes on which a namespace is set differently have one digest."""
    patch.setattr(Table, "_count", lambda self, change: None)


@mutant(
    guard="hazard 10: levels wait for every member",
    breaks="I3",
    catcher=by_test(
        "unit/machine/test_features.py::test_an_operation_above_the_clusters_level_is_refused_and_names_who_holds_it_back"
    ),
)
def features_do_not_wait_for_every_member(patch: Patch) -> None:
    """What a member of an older version cannot read is written all the same."""
    patch.setattr(features, "not_enabled", lambda members, level_used, operation: None)


@mutant(
    guard="hazard 10: what is too new is refused by name",
    breaks="I3",
    catcher=by_test(
        "unit/machine/test_features.py::test_a_node_of_a_lower_level_reads_what_it_can_and_refuses_the_rest_by_name"
    ),
)
def what_is_too_new_is_guessed_at(patch: Patch) -> None:
    """A node applies entries of a level that it does not know."""
    original = codec.decode_batch

    def decode_batch(payload: bytes, level: int = features.LEVEL_NEWEST) -> Any:
        return original(payload, features.LEVEL_NEWEST)

    patch.setattr(codec, "decode_batch", decode_batch)
