"""The store whose tokens bite, and the careless handler on it: what a stale deletion may do, and where a cleanup can be held up."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from garbagetruck.chaos.processes import vault_handler
from garbagetruck.chaos.processes.vault import Decision, Point, Vault
from garbagetruck.cluster.cleanup.handler import CleanupCall, InvalidParametersError, Verdict
from garbagetruck.cluster.cleanup.registry import installed_factory


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    made = Vault(tmp_path / "vault")
    made.make()
    return made


def call(key: str, token: int) -> CleanupCall:
    """Of an attempt whose time is over, and whose node leads no more."""
    return CleanupCall(
        cluster_id="chaos",
        namespace="default",
        resource=key,
        generation=1,
        parameters={"key": key},
        target=f"vault:/{key}",
        fencing_token=token,
        idempotency_key="0" * 32,
        identity="",
        attempt=1,
        remaining_s=lambda: 0.0,
        still_leading=lambda: False,
    )


def test_i5_a_deletion_under_a_lower_or_equal_token_deletes_nothing(vault: Vault) -> None:
    vault.put("a", 7)
    assert vault.delete("a", 6) is Decision.FENCED
    assert vault.delete("a", 7) is Decision.FENCED
    assert vault.token_of("a") == 7
    assert vault.delete("a", 8) is Decision.DELETED
    assert vault.delete("a", 9) is Decision.ABSENT
    told = [(each.pid, each.token, each.decision.value) for each in vault.deletions("a")]
    assert told == [
        (os.getpid(), 6, "fenced"),
        (os.getpid(), 7, "fenced"),
        (os.getpid(), 8, "deleted"),
        (os.getpid(), 9, "absent"),
    ]


def test_i5_an_object_is_not_replaced_under_a_lower_token(vault: Vault) -> None:
    assert vault.put("a", 7)
    assert not vault.put("a", 6)
    assert vault.token_of("a") == 7


async def test_a_handler_waits_at_a_gate_and_its_stale_token_does_no_harm(vault: Vault) -> None:
    handler = vault_handler.VaultHandler(vault)
    vault.put("a", 1)
    vault.shut(Point.CLAIMED, "a")
    cleaning = asyncio.create_task(handler.clean(call("a", 2)))
    async with asyncio.timeout(10):
        while vault.waiting(Point.CLAIMED, "a") is None:  # noqa: ASYNC110 - another thread writes it
            await asyncio.sleep(0.01)
    assert vault.token_of("a") == 1
    assert vault.put("a", 3), "it was made anew meanwhile"
    vault.open(Point.CLAIMED, "a")
    assert (await cleaning).verdict is Verdict.FAILED
    assert vault.token_of("a") == 3


async def test_without_gates_it_cleans_and_says_when_there_was_nothing(vault: Vault) -> None:
    handler = vault_handler.VaultHandler(vault)
    vault.put("a", 1)
    assert (await handler.clean(call("a", 2))).verdict is Verdict.DONE
    assert (await handler.clean(call("a", 3))).verdict is Verdict.ALREADY_GONE


def test_a_key_is_a_plain_name(vault: Vault) -> None:
    handler = vault_handler.VaultHandler(vault)
    assert handler.canonical_target({"key": "a-1"}) == "vault:/a-1"
    for parameters in ({}, {"key": "../a"}, {"key": "a", "more": "b"}):
        with pytest.raises(InvalidParametersError):
            handler.canonical_target(parameters)


def test_it_is_installed_for_whoever_has_its_folder_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert installed_factory(vault_handler.KIND) is None, "no node has it by itself"
    vault_handler.install(tmp_path / "plug-ins")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "plug-ins")])
    factory = installed_factory(vault_handler.KIND)
    assert factory is vault_handler.make
    with pytest.raises(ValueError, match="needs exactly the option folder"):
        factory({}, "vault")
