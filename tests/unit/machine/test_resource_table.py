"""The table of resources: what is read is what was put, however its name and its row look."""

import pytest
from msgspec.structs import replace

from garbagetruck.cluster.machine import resource_table
from garbagetruck.cluster.machine.model import CleanupSpec, Resource, ResourceState
from garbagetruck.cluster.machine.resource_table import ResourceTable
from garbagetruck.cluster.machine.tables import DigestSum

RESOURCE = Resource(
    namespace="default",
    name="uploads/42",
    generation=1,
    state=ResourceState.LIVE,
    revision=1,
    cleanup=CleanupSpec("file", (("path", "uploads/42"),), "file:/srv/uploads/42"),
    grace_ms=2_000,
    labels=(),
    leases=("0123456789abcdefghjkmnpqrs",),
    holds=(),
    fencing_token=1,
    created_ms=0,
    orphaned_ms=0,
    due_ms=0,
    claims=0,
    failures=0,
    claim=None,
    last_error="",
)


@pytest.mark.parametrize("number", [1, 0xC1, 0xC1C1, 0xC1C1C1C1C1])
@pytest.mark.parametrize("name", ["a", "42", "uploads/42", "Ä" * 300, "file", "p" * 65, "\xc1" * 20])
def test_what_is_read_is_what_was_put(name: str, number: int) -> None:
    """Also where a number in the row looks like what stands for the name, or a name like another part of the row."""
    target = f"file:/srv/{name}"
    put = replace(RESOURCE, name=name, created_ms=number, cleanup=CleanupSpec("file", (("path", name),), target))
    table = ResourceTable(DigestSum(), 5)
    table.put(("default", "other"), replace(RESOURCE, name="other"))
    table.put(("default", name), replace(put, generation=2, revision=1))
    table.put(("default", name), replace(put, generation=2, revision=2))
    table.put(("default", "other"), replace(RESOURCE, name="other", revision=7))  # so that it must be read anew
    assert table["default", name] == table.of_generation(2) == replace(put, generation=2, revision=2)
    assert list(table.values())[1] == replace(put, generation=2, revision=2)
    table.pop(("default", name))
    table.pop(("default", "other"))
    assert table._digest.value == 0


def test_a_name_that_its_cleanup_repeats_is_kept_once() -> None:
    name = "a folder/with a long name/and a file with a long one"
    row = resource_table._encode(
        replace(RESOURCE, name=name, cleanup=CleanupSpec("file", (("path", name),), f"f:/{name}"))
    )
    packed = resource_table._packed(name, row)
    assert packed.count(name.encode()) == 1
    assert len(packed) < len(row) - len(name)
    assert resource_table._whole(packed) == row
