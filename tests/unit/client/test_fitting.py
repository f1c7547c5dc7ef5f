"""What no message can hold is refused before anything is sent, with the field at fault."""

from typing import Any

import pytest

import garbagetruck
from garbagetruck.client import Brake, CleanupSettings, Limits
from garbagetruck.client.errors import GarbageTruckError, InvalidArgument
from garbagetruck.client.records import LeaseRequest
from tests.unit.client.fake_cluster import FakeClock, Node, truck_of


@pytest.mark.parametrize(
    ("arguments"),
    [
        {"resource": "\udcff"},
        {"resource": "a", "ttl": float("nan")},
        {"resource": "a", "ttl": float("inf")},
        {"resource": "a", "ttl": 1e300},
        {"resource": "a", "labels": {"a": "\ud800"}},
    ],
)
async def test_what_no_message_can_hold_is_an_invalid_argument(
    node: Node, clock: FakeClock, arguments: dict[str, Any]
) -> None:
    async with truck_of([node], clock) as truck:
        with pytest.raises(GarbageTruckError, match=r"UTF-8|duration"):
            await truck.acquire(**arguments, holder="resizer-7")
    assert not node.calls


@pytest.mark.parametrize(
    ("field", "settings"),
    [
        ("limits.leases_max", {"limits": Limits(leases_max=2**64)}),
        ("cleanup.attempts_max", {"cleanup": CleanupSettings(attempts_max=-(10**20))}),
        ("brake.holders_min", {"brake": Brake(holders_min=10**20)}),
        ("revision", {"revision": 10**20}),
    ],
)
async def test_a_number_that_no_message_can_hold_is_told_with_its_field(
    node: Node, clock: FakeClock, field: str, settings: dict[str, Any]
) -> None:
    async with truck_of([node], clock) as truck:
        with pytest.raises(InvalidArgument, match=rf"^{field}: is -?1\d+, more than can be sent; write at") as told:
            await truck.namespaces.set("tenant-7", **settings)
    assert [violation.field for violation in told.value.violations] == [field]
    assert not node.calls


async def test_what_is_only_read_by_is_told_with_its_field_too(node: Node, clock: FakeClock) -> None:
    async with truck_of([node], clock) as truck:
        with pytest.raises(InvalidArgument, match="from_index: is -1, more than can be sent; write at least 0"):
            await anext(truck.watch(from_index=-1))
        with pytest.raises(InvalidArgument, match=r"page_size: is 2147483648, .*; write at most 2147483647"):
            await truck.list_leases(page_size=2**31).page()
    assert not node.calls


async def test_text_that_no_message_can_hold_is_told_with_its_field(node: Node, clock: FakeClock) -> None:
    broken = garbagetruck.Cleanup("file", path="\ud800")
    async with truck_of([node], clock) as truck:
        for field, call in (
            ("resource", truck.acquire("\udcff", holder="h", ttl=1.0)),
            ("labels", truck.acquire("r", holder="h", ttl=1.0, labels={"a": "\ud800"})),
            ("cleanup.parameters", truck.acquire("r", holder="h", ttl=1.0, cleanup=broken)),
            ("items[1].resource", truck.acquire_many([LeaseRequest(resource="r"), LeaseRequest(resource="\udcff")])),
            ("lease_ids", truck.renew(["a", "\udcff"])),
        ):
            with pytest.raises(InvalidArgument, match="cannot be written as UTF-8") as told:
                await call
            assert [violation.field for violation in told.value.violations] == [field]
    assert not node.calls
