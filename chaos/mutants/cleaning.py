"""Mutants of cleaning: claims, the brake, restores, attempts, and the handlers' fences (I1, I4, I5, I9)."""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from garbagetruck.chaos.mutants.mutant import by_test, in_cluster, mutant
from garbagetruck.chaos.mutants.patch import Patch
from garbagetruck.chaos.simulator.store import ObjectStore
from garbagetruck.cluster.cleanup.attempt import Attempt
from garbagetruck.cluster.cleanup.handler import CleanupCall
from garbagetruck.cluster.cleanup.handlers import http
from garbagetruck.cluster.cleanup.handlers.file import removal, walk
from garbagetruck.cluster.cleanup.handlers.file.fence import FenceTable, OvertakenError
from garbagetruck.cluster.machine import brake, cleanups, quarantine, restoring
from garbagetruck.cluster.machine.operations import ReportCleanup
from garbagetruck.cluster.machine.outcomes import Reason, Refused
from garbagetruck.cluster.machine.state import State

A_MINUTE_S = 60.0
ABOVE_EVERY_TOKEN = 2**53


def _claims_but_for(reason: Reason) -> Callable[..., Refused | None]:
    """`_may_claim` that is never kept from it by this."""
    original = cleanups._may_claim

    def may_claim(*arguments: Any, **named: Any) -> Refused | None:
        refusal = original(*arguments, **named)
        return None if refusal is not None and refusal.reason is reason else refusal

    return may_claim


@mutant(guard="claims: as the leader saw it", breaks="I1", catcher=in_cluster())
def a_claim_is_not_checked_against_what_changed_since(patch: Patch) -> None:
    """What was an orphan when the leader looked is claimed, whatever came before the claim in the log."""
    patch.setattr(cleanups, "_may_claim", lambda *_, **__: None)


@mutant(
    guard="claims: holds",
    breaks="I1",
    catcher=by_test("unit/machine/test_resources.py::test_a_hold_between_two_attempts_stops_the_next"),
)
def a_hold_stops_no_claim(patch: Patch) -> None:
    """What an operator holds is claimed."""
    patch.setattr(cleanups, "_may_claim", _claims_but_for(Reason.HOLD_CONFLICT))


@mutant(
    guard="claims: pauses",
    breaks="I1",
    catcher=by_test("unit/machine/test_cleanups.py::test_no_claim_is_made_while_cleanups_are_paused"),
)
def a_pause_stops_no_claim(patch: Patch) -> None:
    """Cleanups go on though an operator, a difference of digests or the brake has paused them."""
    patch.setattr(cleanups, "_may_claim", _claims_but_for(Reason.CLEANUPS_PAUSED))


@mutant(
    guard="claims: the sweep has caught up",
    breaks="I1",
    catcher=by_test("unit/machine/test_cleanups.py::test_claims_wait_until_the_sweep_has_caught_up"),
)
def a_claim_does_not_wait_for_the_sweep(patch: Patch) -> None:
    """Of a mass expiry the first orphans are cleaned before the brake has seen the rest."""
    patch.setattr(cleanups, "_may_claim", _claims_but_for(Reason.SWEEP_BEHIND))


@mutant(
    guard="claims: only its own token reports",
    breaks="I5",
    catcher=by_test("unit/machine/test_cleanups.py::test_i5_only_the_claims_own_token_reports_its_end"),
)
def any_token_reports(patch: Patch) -> None:
    """A report of a claim that was overtaken settles the later one."""
    original = cleanups.report

    def report(state: State, operation: ReportCleanup) -> Any:
        resource = state.resources.get((operation.namespace, operation.resource))
        if resource is not None and resource.claim is not None:
            operation = replace(operation, token=resource.claim.token)
        return original(state, operation)

    patch.setattr(cleanups, "report", report)


@mutant(
    guard="claims: one that lapsed counts",
    breaks="I4",
    catcher=by_test(
        "unit/machine/test_cleanups.py::test_a_claim_that_lapses_because_its_leader_is_gone_uses_up_an_attempt",
        "unit/machine/test_cleanups.py::test_i4_a_handler_that_takes_its_leader_down_each_time_ends_as_a_dead_letter",
    ),
)
def an_attempt_nobody_reported_does_not_count(patch: Patch) -> None:
    """A handler that takes its node down each time never ends as a dead letter."""

    def fail(state: State, resource: Any, made: Any, error: str, *, not_before_ms: int = 0) -> Any:
        return cleanups._wait_again(state, resource, made, error, failed=False, not_before_ms=not_before_ms)

    patch.setattr(cleanups, "_fail", fail)


@mutant(
    guard="brake",
    breaks="I1",
    catcher=by_test("unit/machine/test_brake.py::test_most_holders_expiring_together_engage_it_and_nothing_is_claimed"),
)
def the_brake_never_engages(patch: Patch) -> None:
    """When all holders are cut off at once, all that they have is cleaned."""
    patch.setattr(brake, "judge", lambda state, namespace_name: None)


@mutant(
    guard="brake: holders that come back",
    breaks="I4",
    catcher=by_test(
        "unit/machine/test_brake.py::test_it_ends_when_enough_holders_are_heard_again_and_orphans_get_fresh_grace"
    ),
)
def nobody_is_heard_again(patch: Patch) -> None:
    """An engaged brake waits for ever for holders that came back."""
    patch.setattr(brake, "note_return", lambda state, namespace_name, holder: None)


@mutant(
    guard="restore: the longest TTL runs once more",
    breaks="I9",
    catcher=by_test(
        "unit/machine/test_restoring.py::test_i9_the_longest_ttl_runs_once_more_after_the_resume_whether_that_is_early_or_late"
    ),
)
def a_restored_cluster_waits_for_nobody(patch: Patch) -> None:
    """As soon as an operator resumes, what a forgotten lease still holds is cleaned."""
    patch.setattr(quarantine, "left_ms", lambda state: None)


@mutant(
    guard="restore: full TTLs",
    breaks="I9",
    catcher=by_test("unit/machine/test_restoring.py::test_i9_every_lease_and_session_has_its_full_ttl_again"),
)
def a_restore_prolongs_nothing(patch: Patch) -> None:
    """Leases that were renewed after what was saved end by their former deadline."""
    patch.setattr(restoring, "_prolong", lambda state: None)


@mutant(
    guard="restore: paused",
    breaks="I9",
    catcher=by_test(
        "unit/machine/test_restoring.py::test_i9_nothing_is_claimed_before_an_operator_resumes_however_long_that_takes",
    ),
)
def a_restore_pauses_nothing(patch: Patch) -> None:
    """A restored cluster cleans by itself."""
    patch.setattr(restoring, "_pause", lambda state, source: None)


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
    ),
)
def an_effect_may_always_begin(patch: Patch) -> None:
    """A handler goes on though its time is over, or its node leads no more."""
    patch.setattr(CleanupCall, "may_proceed", lambda self: True)


@mutant(guard="fencing at the object store", breaks="I5", catcher=in_cluster("pause", "crash"))
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
