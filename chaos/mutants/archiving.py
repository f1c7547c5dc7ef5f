"""Mutants of what is kept outside the nodes, and of who may write there (I9, I10)."""

from typing import Any

from garbagetruck.chaos.mutants.mutant import by_test, mutant
from garbagetruck.chaos.mutants.patch import Patch
from garbagetruck.cluster.node.archiving.service import StorageService
from garbagetruck.storage import fencing


def _say_nothing(*_: Any) -> None:
    """In the place of what would refuse."""


@mutant(
    guard="a life that was followed by another holds its cleanups",
    breaks="I9",
    catcher=by_test(
        "integration/storage/test_archiving.py"
        "::test_i9_i10_a_cluster_that_was_restored_elsewhere_deletes_nothing_even_when_it_is_resumed"
    ),
)
def a_life_that_was_followed_cleans_when_it_is_resumed(patch: Patch) -> None:
    """Only the log's pause keeps it from cleaning, until its operator ends that, who knows of nothing."""
    patch.setattr(StorageService, "holds_cleanups", False)


@mutant(
    guard="storage is fenced by incarnation",
    breaks="I9",
    catcher=by_test(
        "contract/storage/test_incarnations.py::test_i9_nothing_of_an_earlier_incarnation_is_written_any_more"
    ),
)
def a_life_writes_on_after_the_next_was_reserved(patch: Patch) -> None:
    """What a restore has read is not all that there is; and the old cluster never learns of the new one."""
    patch.setattr(fencing, "require_incarnation", _say_nothing)


@mutant(
    guard="the archive is fenced by term",
    breaks="I5",
    catcher=by_test(
        "unit/node/test_archiver.py"
        "::test_a_new_leader_goes_on_where_the_archive_ends_and_the_deposed_one_writes_no_more"
    ),
)
def a_deposed_leader_is_not_refused_by_the_archive(patch: Patch) -> None:
    """Whoever led once may append what comes next, from a log that nobody else has."""
    patch.setattr(fencing, "require_term", _say_nothing)
