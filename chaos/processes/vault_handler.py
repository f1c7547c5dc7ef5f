"""The cleanup of what lies in a vault, as a plug-in of the chaos child's node: as careless as a handler can be.

Duty: delete under the claim's token, and wait at the gates before and after. It asks nobody whether it may proceed, and does not
stop when it is cancelled: so what keeps a stale one from harm is the token alone, at the store.
Must not know: anything of the cluster but a handler's interface.
"""

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from garbagetruck.chaos.processes.vault import Decision, Point, Vault
from garbagetruck.cluster.cleanup.handler import CleanupCall, CleanupResult, Handler, InvalidParametersError
from garbagetruck.cluster.cleanup.registry import ENTRY_POINT_GROUP

KIND = "chaos-vault"
DISTRIBUTION = "garbagetruck_chaos_vault-1.dist-info"


class VaultHandler(Handler):
    """One vault."""

    scheme: ClassVar[str] = "vault"

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    @override
    def canonical_target(self, parameters: Mapping[str, str]) -> str:
        key = parameters.get("key", "")
        if set(parameters) != {"key"} or not re.fullmatch(r"[a-z0-9-]{1,64}", key):
            raise InvalidParametersError("key", "is missing or no plain name", "give one key, in a-z, 0-9 and -")
        return f"vault:/{key}"

    @override
    async def clean(self, call: CleanupCall) -> CleanupResult:
        return await asyncio.to_thread(self._clean, call.parameters["key"], call.fencing_token)

    def _clean(self, key: str, token: int) -> CleanupResult:
        self._vault.pass_gate(Point.CLAIMED, key)
        decision = self._vault.delete(key, token)
        self._vault.pass_gate(Point.DELETED, key)
        match decision:
            case Decision.DELETED:
                return CleanupResult.done()
            case Decision.ABSENT:
                return CleanupResult.already_gone()
            case Decision.FENCED:
                return CleanupResult.failed("what is there bears a higher token")


def make(options: Mapping[str, object], name: str) -> VaultHandler:
    """What the entry point names. Raises `ValueError`."""
    if set(options) != {"folder"}:
        message = f"{name} needs exactly the option folder"
        raise ValueError(message)
    return VaultHandler(Vault(Path(str(options["folder"]))))


def install(folder: Path) -> None:
    """Make `folder` one from which a process that has it on its path has this handler, as if it were installed there."""
    distribution = folder / DISTRIBUTION
    distribution.mkdir(parents=True)
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: garbagetruck-chaos-vault\nVersion: 1\n")
    entry = f"[{ENTRY_POINT_GROUP}]\n{KIND} = {__name__}:make\n"
    (distribution / "entry_points.txt").write_text(entry)
