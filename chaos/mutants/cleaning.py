"""Mutants of cleaning: attempts, and the handlers' fences (I1, I5, I8)."""

from typing import Any

from garbagetruck.chaos.mutants.mutant import by_test, in_cluster, mutant
from garbagetruck.chaos.mutants.patch import Patch
from garbagetruck.chaos.simulator.store import ObjectStore
from garbagetruck.cluster.cleanup.attempt import Attempt
from garbagetruck.cluster.cleanup.handler import CleanupCall
from garbagetruck.cluster.cleanup.handlers import http
from garbagetruck.cluster.cleanup.handlers.file import removal, walk
from garbagetruck.cluster.cleanup.handlers.file.fence import FenceTable, OvertakenError
from garbagetruck.cluster.cleanup.turns import Turns

A_MINUTE_S = 60.0
ABOVE_EVERY_TOKEN = 2**53


@mutant(
    guard="attempt: the target is derived again",
    breaks="I1",
    catcher=by_test(
        "unit/cleanup/test_executor.py::test_i1_a_target_that_this_nodes_handler_derives_otherwise_is_refused_for_good_and_not_touched"
    ),
)
def a_target_is_not_verified(patch: Patch) -> None:
    """A node whose handler is configured otherwise touches something that no resource owns."""
    patch.setattr(Attempt, "_verify", lambda self: None)


@mutant(
    guard="attempt: a deadline of its own",
    breaks="I5",
    catcher=by_test(
        "unit/cleanup/test_executor_endings.py::test_i1_the_deadline_counts_from_proposing_and_the_claim_stands_longer_by_a_margin",
        "unit/cleanup/test_executor_endings.py::test_a_claim_that_was_committed_too_late_is_reported_as_not_attempted",
    ),
)
def an_attempt_has_always_time_left(patch: Patch) -> None:
    """An attempt acts though the claim that covers it may have lapsed, and the next be under way."""
    patch.setattr(Attempt, "_remaining_s", lambda self, until_ns: A_MINUTE_S)


@mutant(
    guard="attempt: asks before each effect",
    breaks="I8",
    catcher=by_test(
        "integration/cleanup/test_file_removal.py::test_i8_nothing_is_renamed_when_the_attempt_may_not_proceed",
        "integration/cleanup/test_http_handler.py::test_i8_nothing_is_sent_when_the_attempt_may_not_proceed",
        "integration/cleanup/test_grpc_handler.py::test_i8_nothing_is_called_when_the_attempt_may_not_proceed",
    ),
)
def an_effect_may_always_begin(patch: Patch) -> None:
    """A handler goes on though its time is over, or its node leads no more."""
    patch.setattr(CleanupCall, "may_proceed", lambda self: True)


@mutant(
    guard="executor: turns",
    breaks="I4",
    catcher=by_test(
        "unit/cleanup/test_executor.py::test_a_namespace_whose_cleanups_hang_delays_no_other_namespace_of_the_same_handler"
    ),
)
def the_first_in_line_is_always_next(patch: Patch) -> None:
    """A namespace with a backlog that hangs takes every slot that is freed."""
    patch.setattr(Turns, "_place", lambda self, handler, namespace: (0, 0))


@mutant(guard="fencing at the object store", breaks="I5", catcher=in_cluster("pause", "kill", first=3))
def the_store_does_not_fence(patch: Patch) -> None:
    """A store deletes what bears a higher token than the claim."""

    def delete(self: ObjectStore, key: str, token: int) -> str:
        found = [each for each in self.objects if each == key or each.startswith(f"{key}/")]
        for each in found:
            self._on_removed(each, self.objects.pop(each), token)
        return "removed" if found else "absent"

    patch.setattr(ObjectStore, "delete", delete)


@mutant(
    guard="file handler: the identity that was claimed",
    breaks="I1",
    catcher=by_test(
        "integration/cleanup/test_file_removal.py::test_i1_a_file_replaced_after_it_was_observed_is_left_alone",
        "integration/cleanup/test_file_removal.py::test_i1_a_copy_with_the_same_inode_size_and_mtime_is_not_the_same_file",
    ),
)
def any_file_is_the_one_that_was_observed(patch: Patch) -> None:
    """A file that was made anew under the name is deleted in place of the one that was claimed."""
    patch.setattr(removal, "identity", lambda status: "0:0:0:0:0:file")


@mutant(
    guard="file handler: looks again after the rename",
    breaks="I1",
    catcher=by_test(
        "integration/cleanup/test_file_removal.py::test_i1_a_file_replaced_between_comparison_and_rename_gets_its_name_back"
    ),
)
def what_was_renamed_is_not_looked_at(patch: Patch) -> None:
    """A file that was exchanged between comparison and rename is deleted."""
    patch.setattr(removal, "is_same_after_rename", lambda before, after: True)


@mutant(
    guard="file handler: a token for each target",
    breaks="I5",
    catcher=by_test(
        "integration/cleanup/test_file_fencing.py::test_i5_a_stale_claim_is_refused_even_where_the_later_one_found_nothing_to_do",
        "integration/cleanup/test_fence.py::test_i5_a_lower_token_is_refused_and_an_equal_one_is_a_retry",
    ),
)
def a_fence_admits_every_token(patch: Patch) -> None:
    """A stopped leader that wakes acts under a claim that was overtaken."""
    original = FenceTable.admit

    def admit(self: FenceTable, target: str, token: int) -> bytes | None:
        try:
            return original(self, target, token)
        except OvertakenError:
            return original(self, target, ABOVE_EVERY_TOKEN)

    patch.setattr(FenceTable, "admit", admit)


@mutant(
    guard="file handler: links are not followed",
    breaks="I1",
    catcher=by_test("integration/cleanup/test_file_borders.py::test_i1_symbolic_links_are_refused_wherever_they_are"),
)
def whatever_is_there_may_be_removed(patch: Patch) -> None:
    """Links, directories and other devices are removed like files."""

    def check_removable(*_: Any, **__: Any) -> None: ...

    patch.setattr(walk, "check_removable", check_removable)
    patch.setattr(removal, "check_removable", check_removable)


@mutant(
    guard="http handler: one request for one attempt",
    breaks="I8",
    catcher=by_test(
        "integration/cleanup/test_http_handler.py::test_i8_an_attempt_sends_one_request_when_the_service_hangs_up"
    ),
)
def a_request_is_sent_again(patch: Patch) -> None:
    """A request whose connection broke is repeated without asking whether it still may be."""

    async def send(request: Any, next_one: Any) -> Any:
        return await next_one(request)

    patch.setattr(http, "_send_once", send)
