"""Mutants of the handlers that clean up in other people's stores: rows, and objects (I1, I5, I8).

What is an extra is imported where a mutant is planted, so that the table can be read without it.
"""

from collections.abc import Mapping
from typing import Any

from garbagetruck.chaos.mutants.mutant import by_test, mutant
from garbagetruck.chaos.mutants.patch import Patch
from garbagetruck.cluster.cleanup.handler import NOT_OBSERVED
from garbagetruck.cluster.cleanup.handlers.s3 import handler as s3_handler
from garbagetruck.cluster.cleanup.handlers.s3 import places
from garbagetruck.cluster.cleanup.handlers.sql import handler as sql_handler
from garbagetruck.cluster.cleanup.handlers.sql import statements

OVERTAKEN = "integration/cleanup/test_overtaken_handlers.py"
REFUSED = f"{OVERTAKEN}::test_i5_an_overtaken_handler_is_refused_by_the_store_and_says_so"
SENT_ONCE = "integration/cleanup/test_s3_handler.py::test_i8_a_deletion_is_sent_once_whatever_the_store_answers"


@mutant(
    guard="sql handler: what observe finds is compared",
    breaks="I1",
    catcher=by_test(
        "integration/cleanup/test_sql_handler.py::test_i1_a_row_that_changed_since_it_was_observed_is_left_alone"
    ),
)
def any_row_is_the_one_that_was_observed(patch: Patch) -> None:
    """A row that was made anew under its key is deleted in place of the one that was claimed."""

    async def identity(*_: Any) -> str:
        return NOT_OBSERVED

    patch.setattr(sql_handler, "_identity", identity)


@mutant(guard="sql handler: one snapshot for all statements", breaks="I5", catcher=by_test(REFUSED))
def each_statement_sees_the_rows_of_its_own_time(patch: Patch) -> None:
    """A leader that was stopped between comparison and deletion deletes what came between."""
    from garbagetruck.cluster.cleanup.handlers.sql import connections

    patch.setattr(connections, "ISOLATION", "read_committed")


@mutant(
    guard="sql handler: bounds of rows",
    breaks="I1",
    catcher=by_test(
        "integration/cleanup/test_sql_handler.py::test_more_or_fewer_rows_than_the_operator_allows_are_rolled_back_for_good"
    ),
)
def any_number_of_rows_will_do(patch: Patch) -> None:
    """A statement whose condition is too wide deletes what nobody meant."""
    from garbagetruck.cluster.cleanup.handlers.sql.connections import Prepared

    original = Prepared.change

    async def change(self: Prepared, values: Mapping[str, str]) -> int:
        await original(self, values)
        return 1

    patch.setattr(Prepared, "change", change)


@mutant(
    guard="sql handler: one spelling for each value",
    breaks="I1",
    catcher=by_test("unit/cleanup/test_sql_statements.py::test_i1_one_row_has_one_target_however_its_key_is_written"),
)
def one_row_has_as_many_targets_as_spellings(patch: Patch) -> None:
    """The end of one resource deletes the row that another is using under the key's other spelling."""
    patch.setattr(statements, "spelled", lambda kind, name, given: given)


@mutant(
    guard="s3 handler: what was observed is compared",
    breaks="I1",
    catcher=by_test(
        "integration/cleanup/test_s3_handler.py::test_i1_an_object_that_changed_since_it_was_observed_is_left_alone"
    ),
)
def any_object_is_the_one_that_was_observed(patch: Patch) -> None:
    """An object that was written anew is deleted in place of the one that was claimed."""
    patch.setattr(s3_handler.Sighting, "identity", "looks the same")


@mutant(guard="s3 handler: a deletion is bound to the ETag", breaks="I5", catcher=by_test(REFUSED))
def an_object_is_deleted_whatever_it_is_now(patch: Patch) -> None:
    """A leader that was stopped between comparison and deletion deletes what came between."""
    from garbagetruck.cluster.cleanup.handlers.s3.store import Store

    patch.setattr(Store, "delete_unchanged", Store.delete_whatever)


@mutant(
    guard="s3 handler: a deletion is bound to the version",
    breaks="I5",
    catcher=by_test(f"{OVERTAKEN}::test_i5_an_overtaken_handler_finds_nothing_of_its_own_and_the_new_thing_stays"),
)
def the_latest_version_is_deleted_whichever_it_is(patch: Patch) -> None:
    """The version that was observed hides behind the marker of a deletion, and so does the one that was made anew."""
    from garbagetruck.cluster.cleanup.handlers.s3.store import Store

    patch.setattr(Store, "delete_version", Store.delete_whatever)


@mutant(
    guard="s3 handler: a fence that does not hold stops it",
    breaks="I5",
    catcher=by_test(
        "integration/cleanup/test_s3_handler.py::test_i5_without_versions_the_fence_by_version_removes_nothing",
        "integration/cleanup/test_s3_handler.py::test_i5_where_conditions_are_not_heeded_the_fence_by_etag_removes_nothing",
    ),
)
def a_fence_that_does_not_hold_is_believed_in(patch: Patch) -> None:
    """Objects are deleted without any fence, though the operator chose one."""

    async def unfenced(*_: Any) -> None: ...

    patch.setattr(s3_handler.S3Handler, "_unfenced", unfenced)


@mutant(guard="s3 handler: one request for one deletion", breaks="I8", catcher=by_test(SENT_ONCE))
def a_deletion_is_sent_again(patch: Patch) -> None:
    """A deletion whose connection broke is repeated without asking whether it still may be."""
    from garbagetruck.cluster.cleanup.handlers.s3 import store

    async def send(request: Any, next_one: Any) -> Any:
        return await next_one(request)

    patch.setattr(store, "_send_once", send)


@mutant(guard="s3 handler: no redirect is followed", breaks="I8", catcher=by_test(SENT_ONCE))
def a_deletion_follows_a_bucket_to_another_region(patch: Patch) -> None:
    """A deletion is sent to whatever place an answer names."""
    from garbagetruck.cluster.cleanup.handlers.s3 import store

    patch.setattr(store, "_follow_no_redirect", lambda context, **_: None)


@mutant(
    guard="s3 handler: below the operator's prefixes",
    breaks="I1",
    catcher=by_test("unit/cleanup/test_s3_places.py::test_what_names_no_place_below_the_operators_prefixes_is_refused"),
)
def every_key_may_be_removed(patch: Patch) -> None:
    """A client names what the operator did not give away."""
    patch.setattr(places, "_lies_below", lambda key, prefix: True)
