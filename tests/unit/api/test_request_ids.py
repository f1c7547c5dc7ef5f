"""The ids under which the items of a batch are remembered: nobody's but theirs."""

import grpc
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from garbagetruck.cluster.api.lease import item_request_id
from garbagetruck.cluster.api.texts import REQUEST_ID_BYTES_MAX
from garbagetruck.cluster.machine import validation
from garbagetruck.v1 import lease_pb2
from tests.unit.api.stand import Stand, refusal

IDS = st.text(min_size=1, max_size=REQUEST_ID_BYTES_MAX // 4)
POSITIONS = st.integers(0, validation.ITEMS_PER_OPERATION_MAX - 1)


async def take_batch(api: Stand) -> None:
    item = lease_pb2.AcquireItem(resource="of the batch", holder="h", ttl_ms=1_000)
    answer = await api.leases.BatchAcquire(lease_pb2.BatchAcquireRequest(request_id="x", items=[item]))
    assert [result.lease.resource for result in answer.results] == ["of the batch"]


async def take_alone(api: Stand) -> None:
    for request_id in ("x", "x/0", "x/000", item_request_id("x", 0)[:REQUEST_ID_BYTES_MAX]):
        request = lease_pb2.AcquireRequest(request_id=request_id, resource=request_id, holder="h", ttl_ms=1_000)
        assert (await api.leases.Acquire(request)).lease.resource == request_id


@pytest.mark.parametrize("order", [(take_batch, take_alone), (take_alone, take_batch)])
async def test_i6_a_batch_and_a_call_never_meet_under_one_request_id(api: Stand, order: tuple[object, ...]) -> None:
    for take in (*order, *order):
        assert callable(take)
        await take(api)
    assert api.gateway.machine.summary().leases == 5


async def test_i6_an_id_as_long_as_an_items_is_refused_to_callers(api: Stand) -> None:
    taken = lease_pb2.AcquireRequest(request_id=item_request_id("x", 0), resource="r", holder="h", ttl_ms=1_000)
    told = await refusal(api.leases.Acquire(taken))
    assert (told.code, told.bad_fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["request_id"])


@given(IDS, POSITIONS, IDS, POSITIONS)
@example("x" * REQUEST_ID_BYTES_MAX, 999, "x" * (REQUEST_ID_BYTES_MAX - 1), 0)
@example("x/0", 0, "x", 0)
@example("x", 0, "x", 0)
def test_i6_no_two_items_share_an_id(batch: str, position: int, other: str, another: int) -> None:
    derived = item_request_id(batch, position)
    assert REQUEST_ID_BYTES_MAX < len(derived.encode()) <= validation.REQUEST_ID_BYTES_MAX
    assert (derived == item_request_id(other, another)) == ((batch, position) == (other, another))
