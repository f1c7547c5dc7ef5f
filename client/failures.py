"""From what gRPC and the API say to this client's exceptions.

Duty: read a status and its `google.rpc` details once, at the edge.
Invariant: nothing that arrives makes this raise; details that cannot be read are as good as none.
"""

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from garbagetruck.client import errors
from garbagetruck.client.world import NANOSECONDS_PER_SECOND

DETAILS_KEY = "grpc-status-details-bin"
DOMAIN = "garbagetruck"
NEVER_CONNECTED = "failed to connect to all addresses"
"""How gRPC's own message begins when a call never left this process. Should it change, such a failure counts as
*unknown*.
"""

_CODE_NAMES = {int(code.value[0]): code.name for code in grpc.StatusCode}


def error_of_call(error: grpc.aio.AioRpcError) -> errors.GarbageTruckError:
    """The exception for a call that ended with an error status."""
    code = int(error.code().value[0])
    status = status_pb2.Status(code=code, message=error.details() or error.code().name)
    # gRPC types the trailing metadata of a failed call loosely; a call that failed locally has none.
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                status = status_pb2.Status.FromString(value)
            except DecodeError:
                break
    return error_of_status(status)


def error_of_status(status: status_pb2.Status) -> errors.GarbageTruckError:
    """The exception for a status, as a call or one item of a batch has it."""
    info, retry, bad_request = _details(status)
    reason = info.reason if info.domain == DOMAIN else ""
    code_name = _CODE_NAMES.get(status.code, "UNKNOWN")
    kind = errors.BY_REASON.get(reason) or errors.BY_CODE.get(code_name, errors.OutcomeUnknown)
    return kind(
        status.message or code_name,
        reason=reason,
        metadata=dict(info.metadata),
        retry_after_s=None
        if retry is None
        else retry.retry_delay.seconds + retry.retry_delay.nanos / NANOSECONDS_PER_SECOND,
        violations=tuple(
            errors.FieldViolation(violation.field, violation.description) for violation in bad_request.field_violations
        ),
    )


def never_sent(error: grpc.aio.AioRpcError) -> bool:
    """Whether the call certainly did not reach any server."""
    return error.code() is grpc.StatusCode.UNAVAILABLE and (error.details() or "").startswith(NEVER_CONNECTED)


def _details(
    status: status_pb2.Status,
) -> tuple[error_details_pb2.ErrorInfo, error_details_pb2.RetryInfo | None, error_details_pb2.BadRequest]:
    info = error_details_pb2.ErrorInfo()
    retry = error_details_pb2.RetryInfo()
    has_retry = False
    bad_request = error_details_pb2.BadRequest()
    for detail in status.details:
        try:
            detail.Unpack(info)
            detail.Unpack(bad_request)
            has_retry = detail.Unpack(retry) or has_retry
        except DecodeError:
            continue
    return info, retry if has_retry else None, bad_request
