"""The table of errors is complete, agrees with the published enum and page, and packs what it says."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2

from garbagetruck.cluster.api import errors
from garbagetruck.cluster.api.gateway import (
    FeatureNotEnabled,
    NoLeader,
    NotSealed,
    OperatingError,
    OutcomeUnknown,
    StorageAbsent,
    StorageLow,
    StorageRefused,
    TransferFailed,
)
from garbagetruck.cluster.machine.outcomes import Reason, Refused
from garbagetruck.v1 import error_pb2
from tests.unit.api.stand import bad_fields

PREFIX = "ERROR_REASON_"
PAGE = Path(__file__).parents[3] / "docs" / "errors.md"
OF_LATER_ISSUES = {"UNAUTHENTICATED", "PERMISSION_DENIED"}
"""Published for what later issues build: nothing of this build answers them."""


def published() -> set[str]:
    return {name.removeprefix(PREFIX) for name in error_pb2.ErrorReason.keys()} - {"UNSPECIFIED"}  # noqa: SIM118


def operating_errors(root: type[OperatingError] = OperatingError) -> Iterator[type[OperatingError]]:
    yield root
    for child in root.__subclasses__():
        yield from operating_errors(child)


def answered() -> dict[str, set[grpc.StatusCode]]:
    """Every reason that a client can meet, with its codes."""
    answers: dict[str, set[grpc.StatusCode]] = {}
    rows = [*errors.REFUSALS.values(), *errors.OPERATING_ERRORS.values(), errors.OUTCOME_UNKNOWN_REPEATABLE]
    rows.extend(errors.Answer(code, reason) for reason, code in errors.DOOR_ERRORS.items())
    for code, reason in rows:
        answers.setdefault(reason, set()).add(code)
    return answers


def test_every_refusal_of_the_machine_has_an_answer() -> None:
    assert set(errors.REFUSALS) == set(Reason)


def test_every_operating_error_has_an_answer() -> None:
    ours = {kind for kind in operating_errors() if kind.__module__ == OperatingError.__module__}
    assert set(errors.OPERATING_ERRORS) == ours


def test_what_is_answered_is_what_is_published() -> None:
    assert set(answered()) == published() - OF_LATER_ISSUES


def test_a_reason_has_one_code_save_for_the_outcome_that_is_unknown() -> None:
    several = {reason: codes for reason, codes in answered().items() if len(codes) > 1}
    assert several == {"OUTCOME_UNKNOWN": {grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE}}


def test_every_published_reason_stands_on_the_page_with_its_code() -> None:
    page = PAGE.read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    for reason, codes in answered().items():
        (row,) = [line for line in rows if line.startswith(f"| `{reason}` |")]
        for code in codes:
            assert f"`{code.name}`" in row, row
    assert {line.split("`")[1] for line in rows} == published()


LASTING = (OperatingError, StorageLow, TransferFailed, FeatureNotEnabled, StorageAbsent, StorageRefused)
"""What repeating soon does not help against."""


@pytest.mark.parametrize("kind", [kind for kind in operating_errors() if kind not in LASTING])
def test_whatever_is_unavailable_says_when_to_come_back(kind: type[OperatingError]) -> None:
    told = errors.of_operating_error(kind("no", leader="127.0.0.1:7101"), repeatable=True)
    assert told.answer.code is grpc.StatusCode.UNAVAILABLE
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in told.status().details)
    assert retry.retry_delay.ToMilliseconds() == kind.retry_after_ms > 0
    assert told.leader() == "127.0.0.1:7101"


def test_i11_an_unknown_outcome_is_called_unknown_unless_repeating_is_safe() -> None:
    safe = errors.of_operating_error(OutcomeUnknown("?"), repeatable=True)
    unsafe = errors.of_operating_error(OutcomeUnknown("?"), repeatable=False)
    assert safe.answer == (grpc.StatusCode.UNAVAILABLE, "OUTCOME_UNKNOWN")
    assert unsafe.answer == (grpc.StatusCode.UNKNOWN, "OUTCOME_UNKNOWN")
    assert not any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in unsafe.status().details)
    assert errors.of_operating_error(NotSealed("late"), repeatable=False).answer.code is grpc.StatusCode.UNAVAILABLE


def test_an_operating_error_of_the_nodes_own_making_is_told_as_its_parent() -> None:
    class NoLeaderYet(NoLeader):
        pass

    assert errors.of_operating_error(NoLeaderYet("wait")).answer.reason == "NO_LEADER"
    # So that the table's own completeness is judged by what the port declares.
    assert NoLeaderYet.__module__ != OperatingError.__module__


def test_the_longest_names_stay_below_the_limit_of_metadata() -> None:
    long = "€" * 4_000
    told = errors.of_refusal(
        Refused(
            Reason.TARGET_IN_USE, long, "cleanup", 1, (("target", long), ("owner", long), ("owner_namespace", long))
        )
    )
    status = told.status()
    size = len(status.SerializeToString()) * 4 / 3 + len(status.message.encode()) * 3
    assert size < 7_000
    assert status.message.endswith("€…")
    assert len(status.message.encode()) <= errors.TEXT_BYTES_MAX


def test_a_refusal_with_a_field_is_a_bad_request_too() -> None:
    told = errors.of_refusal(Refused(Reason.LEASE_NOT_FOUND, "no lease", "lease_id"))
    assert bad_fields(told.status()) == ["lease_id"]
    plain = errors.of_refusal(Refused(Reason.QUOTA_EXCEEDED, "too many"))
    assert bad_fields(plain.status()) == []
