"""As whom the server runs: PostgreSQL refuses to run as root.

Duty: be ourselves, or, for root, the account `postgres`, else `nobody`; and say so before anything is tried when that
account cannot get at what it needs.
"""

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from garbagetruck.storage.embedded.errors import PostgresNotStarted

ACCOUNTS_FOR_ROOT = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Account:
    """Ids to give to a new process; None for our own."""

    name: str
    user: int | None = None
    group: int | None = None

    def give(self, path: Path) -> None:
        """Make it the owner. Raises OSError."""
        if self.user is not None and self.group is not None:
            os.chown(path, self.user, self.group)

    def can_enter(self, folder: Path) -> bool:
        """By the modes of all folders on the way. No process is asked: where threads call into gRPC, a child that is to be
        somebody else may die before it can answer.
        """
        if self.user is None:
            return True
        try:
            named, meant = folder.absolute(), folder.resolve()  # links on the way have to be reached, too
            return all(self._may_pass(each.stat()) for each in {named, *named.parents, meant, *meant.parents})
        except OSError:
            return False

    def _may_pass(self, status: os.stat_result) -> bool:
        if status.st_uid == self.user:
            return bool(status.st_mode & stat.S_IXUSR)
        return bool(status.st_mode & (stat.S_IXGRP if status.st_gid == self.group else stat.S_IXOTH))

    def require(self, folder: Path) -> None:
        """Raises PostgresNotStarted unless the account can get into `folder`."""
        if not self.can_enter(folder):
            raise PostgresNotStarted(
                f"PostgreSQL does not run as root, and {self.name}, as whom it would, cannot enter {folder}: "
                "use a folder below one that everybody may pass through, or do not run this as root"
            )

    def as_options(self) -> dict[str, Any]:
        """What to give to `subprocess`."""
        if self.user is None:
            return {}
        return {"user": self.user, "group": self.group, "extra_groups": []}


def account_for_server() -> Account:
    """Raises PostgresNotStarted when there is none."""
    if os.geteuid() != 0:
        return Account("this user")
    for name in ACCOUNTS_FOR_ROOT:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise PostgresNotStarted("PostgreSQL does not run as root, and this machine has no account `postgres` or `nobody`")
