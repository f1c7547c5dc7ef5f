"""What the API's comments say of bounds is what the machine holds to: one number, in one place, and told by its name."""

import re
from pathlib import Path

import pytest

from garbagetruck import v1
from garbagetruck.cluster.machine import validation
from garbagetruck.cluster.machine.model import (
    Bounds,
    BrakeSettings,
    CleanupSettings,
    Namespace,
    NamespaceLimits,
)
from garbagetruck.cluster.machine.outcomes import Acknowledged, Reason
from tests.unit.machine.scribe import Scribe, accepted, refused

PROTO = Path(v1.__path__[0])
SECTIONS = {"limits": "NamespaceLimits", "cleanup": "CleanupSettings", "brake": "Brake"}
DEFAULTS = {"limits": NamespaceLimits(), "cleanup": CleanupSettings(), "brake": BrakeSettings()}


def comment(file: str, message: str, field: str = "") -> str:
    """What stands above a message, or above one of its fields, on one line."""
    text = (PROTO / file).read_text()
    begin = re.search(rf"((?:^// .*\n|^//\n)*)^message {message} {{\n(.*?)^}}", text, re.MULTILINE | re.DOTALL)
    assert begin is not None, f"no message {message} in {file}"
    if not field:
        return _one_line(begin[1])
    found = re.search(rf"((?:^  //.*\n)+)^  (?:optional |repeated )?[\w.<>, ]+ {field} = \d+;", begin[2], re.MULTILINE)
    assert found is not None, f"no field {field} in {message}"
    return _one_line(found[1])


def _one_line(lines: str) -> str:
    return " ".join(line.strip().removeprefix("//").strip() for line in lines.splitlines())


@pytest.mark.parametrize("name", sorted(validation.SETTINGS_MIN_MAX))
def test_a_settings_bounds_and_default_are_published(name: str) -> None:
    section, field = name.split(".")
    least, most = validation.SETTINGS_MIN_MAX[name]
    told = comment("namespace.proto", SECTIONS[section], field)
    assert f"Default {getattr(DEFAULTS[section], field):,}." in told
    if section == "limits":
        assert f"Each is {least} (none at all) to {most:,}." in comment("namespace.proto", "NamespaceLimits")
    else:
        assert f"{least:,} to {most:,}" in told


@pytest.mark.parametrize(
    ("file", "message", "field", "text"),
    [
        ("lease.proto", "AcquireRequest", "resource", f"1 to {validation.RESOURCE_BYTES_MAX:,} bytes"),
        ("lease.proto", "AcquireRequest", "holder", f"1 to {validation.HOLDER_BYTES_MAX:,} bytes"),
        ("lease.proto", "AcquireRequest", "ttl_ms", f"(default {Bounds().ttl_ms_max:,}: 30 days)"),
        ("lease.proto", "AcquireRequest", "ttl_ms", f"(default {Bounds().ttl_ms_min:,})"),
        ("lease.proto", "AcquireRequest", "grace_ms", f"0 to {validation.GRACE_MS_MAX:,} (a year)"),
        ("lease.proto", "AcquireRequest", "labels", f"at most {validation.LABELS_MAX}"),
        ("lease.proto", "AcquireRequest", "labels", f"keys 1 to {validation.LABEL_KEY_BYTES_MAX} bytes"),
        ("lease.proto", "AcquireRequest", "labels", f"values at most {validation.LABEL_VALUE_BYTES_MAX} bytes"),
        ("lease.proto", "BatchAcquireRequest", "items", f"1 to {validation.ITEMS_PER_OPERATION_MAX:,}"),
        ("lease.proto", "BatchRenewRequest", "lease_ids", f"1 to {validation.ITEMS_PER_OPERATION_MAX:,}"),
        ("lease.proto", "BatchRenewRequest", "lease_ids", f"each 1 to {validation.ID_BYTES_MAX} bytes"),
        ("lease.proto", "BatchReleaseRequest", "holder", f"default {Bounds().expirations_per_batch_max}"),
        ("session.proto", "OpenSessionRequest", "holder", f"1 to {validation.HOLDER_BYTES_MAX:,} bytes"),
        ("resource.proto", "HoldRequest", "hold_id", f"at most {validation.ID_BYTES_MAX} bytes"),
        ("resource.proto", "HoldRequest", "reason", f"at most {validation.REASON_BYTES_MAX:,} bytes"),
        ("resource.proto", "UnholdRequest", "hold_id", f"1 to {validation.ID_BYTES_MAX} bytes"),
        ("cleanup_spec.proto", "CleanupSpec", "handler", f"1 to {validation.HANDLER_BYTES_MAX} bytes"),
        ("cleanup_spec.proto", "CleanupSpec", "parameters", f"At most {validation.PARAMETERS_MAX} entries"),
        ("cleanup_spec.proto", "CleanupSpec", "parameters", f"at most {validation.PARAMETER_VALUE_BYTES_MAX:,} bytes"),
        ("cleanup.proto", "Cleanup", "last_error", f"at most {validation.ERROR_BYTES_MAX:,} bytes"),
        ("namespace.proto", "Brake", "share", "above 0 and below 1"),
    ],
)
def test_a_bound_is_published_as_it_is(file: str, message: str, field: str, text: str) -> None:
    assert text in comment(file, message, field)


def test_a_namespaces_name_has_the_published_form() -> None:
    told = (PROTO / "header.proto").read_text()
    assert f"`namespace` is 1 to {validation.NAMESPACE_BYTES_MAX} bytes of `[a-z0-9-]`" in told
    log = Scribe().begin()
    for good in ("a", "7", "a-b", "x" * validation.NAMESPACE_BYTES_MAX):
        accepted(log.one(log.setting(good)), Acknowledged)
    for bad in ("-a", "a-", "A", "a_b", "a.b", "ä", "a b", "x" * (validation.NAMESPACE_BYTES_MAX + 1)):
        assert refused(log.one(log.setting(bad)), Reason.INVALID_ARGUMENT).field == "namespace"
        assert log.machine.namespace(bad) is None


def test_a_limit_of_nothing_at_all_is_one() -> None:
    log = Scribe().begin()
    log.settings(limits=NamespaceLimits(leases_max=0))
    refused(log.one(log.acquiring()), Reason.QUOTA_EXCEEDED)
    assert isinstance(log.machine.namespace("default"), Namespace)
