"""The table of errors is complete, and details survive the wire."""

import grpc
import pytest
from google.rpc import status_pb2

from garbagetruck.client import errors
from garbagetruck.client.failures import error_of_status
from garbagetruck.v1 import error_pb2
from tests.unit.client.fake_cluster import refusal

REASONS = [name.removeprefix("ERROR_REASON_") for name in error_pb2.ErrorReason.keys()[1:]]


def test_every_reason_of_the_api_has_a_class() -> None:
    assert set(errors.BY_REASON) == set(REASONS)


def test_every_status_has_a_class() -> None:
    assert set(errors.BY_CODE) == {code.name for code in grpc.StatusCode} - {"OK"}


@pytest.mark.parametrize("reason", REASONS)
def test_a_reason_becomes_its_class_and_keeps_its_word(reason: str) -> None:
    error = error_of_status(refusal(grpc.StatusCode.FAILED_PRECONDITION, reason, metadata={"state": "claimed"}))
    assert type(error) is errors.BY_REASON[reason]
    assert error.reason == reason
    assert error.metadata == {"state": "claimed"}
    assert error.message == f"because of {reason}"


def test_retry_info_becomes_seconds() -> None:
    status = refusal(grpc.StatusCode.FAILED_PRECONDITION, "RESOURCE_BEING_CLEANED", retry_after_ms=1_500)
    assert error_of_status(status).retry_after_s == 1.5


def test_no_retry_info_is_none_and_not_zero() -> None:
    assert error_of_status(refusal(grpc.StatusCode.FAILED_PRECONDITION, "RESOURCE_BEING_CLEANED")).retry_after_s is None


def test_bad_request_names_the_fields() -> None:
    status = refusal(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", fields={"ttl_ms": "must be above 0"})
    assert error_of_status(status).violations == (errors.FieldViolation("ttl_ms", "must be above 0"),)


def test_a_reason_of_a_newer_server_falls_back_to_the_status() -> None:
    assert type(error_of_status(refusal(grpc.StatusCode.NOT_FOUND, "SHINY_NOT_FOUND"))) is errors.NotFound


def test_a_foreign_domain_is_not_believed() -> None:
    status = refusal(grpc.StatusCode.UNKNOWN, "NO_LEADER")
    status.details[0].value = status.details[0].value.replace(b"garbagetruck", b"someoneelses")
    assert type(error_of_status(status)) is errors.OutcomeUnknown


def test_unreadable_details_are_as_good_as_none() -> None:
    status = refusal(grpc.StatusCode.NOT_FOUND, "LEASE_NOT_FOUND")
    status.details[0].value = b"\xff\xff\xff"
    assert type(error_of_status(status)) is errors.NotFound


def test_a_status_number_that_does_not_exist_is_an_unknown_outcome() -> None:
    assert type(error_of_status(status_pb2.Status(code=99))) is errors.OutcomeUnknown


def test_refusals_are_told_apart_from_what_may_have_happened() -> None:
    for kind in errors.BY_REASON.values():
        kinds = [issubclass(kind, root) for root in (errors.Refused, errors.Unavailable, errors.OutcomeUnknown)]
        assert sum(kinds) == 1 or kind is errors.ServerFault
