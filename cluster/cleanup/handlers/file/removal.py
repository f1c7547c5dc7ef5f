"""One attempt at removing one thing: what is done, in which order, under which lock.

Duty: remove exactly the thing that the claim's identity names, or nothing. (Invariants I1, I5.)

Under the root's lock (fence.py), and with every name taken relative to the folder's descriptor (walk.py):

1. The token is admitted; a higher one of the same target refuses the attempt. It is admitted even where nothing is
   left to remove: whoever creates the thing anew after this claim is safe from earlier ones.
2. A tombstone that an earlier attempt at this generation left behind is finished, if its fingerprint is the one that
   was noted before it was made. If it is not, something else was caught in the window of step 4: it is put back.
3. The thing at the name is compared with the identity that the claim committed, and with the token that a writer may
   have stamped on it (`STAMP`).
4. It is renamed to the tombstone, which must not exist, and compared again; what is not the same is put back. So
   whoever replaces the file between comparison and rename, without any lease, does not lose the new one either.
5. The tombstone is removed. A directory is emptied outside the lock, and removed under it.

The tombstone's name is made of the idempotency key: the same for all attempts at one generation, and for nothing else.
The descriptor of the removed file is closed after the lock is given back, so that freeing a huge one holds nobody up.

`may_proceed` is asked before the rename and before each removal. All of this blocks, and runs wherever blocking calls
may run. Must not know: the event loop, what a claim is.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from garbagetruck.cluster.cleanup.handler import ABSENT, CleanupCall, CleanupResult
from garbagetruck.cluster.cleanup.handlers.file.fence import Fence, FenceTable, OvertakenError
from garbagetruck.cluster.cleanup.handlers.file.linux import rename_no_replace
from garbagetruck.cluster.cleanup.handlers.file.places import RESERVED_PREFIX, Place
from garbagetruck.cluster.cleanup.handlers.file.sighting import fingerprint, identity, is_same_after_rename
from garbagetruck.cluster.cleanup.handlers.file.walk import (
    ForbiddenError,
    RootChangedError,
    RootIdentity,
    StoppedError,
    check_removable,
    check_tree,
    empty_tree,
    look,
    opened_parent,
)

STAMP = "user.garbagetruck.fencing_token"
"""Extended attribute in which a writer may stamp its lease's token, in decimal digits."""

STOPPED = "stopped before its end: out of time, or this node leads no more"
_NO_STAMP = frozenset({errno.ENODATA, errno.EOPNOTSUPP})


class _RefusedError(Exception):
    """Ends the attempt as failed; carries the result out of nested calls and never leaves this module."""

    def __init__(self, error: str, *, retryable: bool) -> None:
        super().__init__(error)
        self.result = CleanupResult.failed(error, retryable=retryable)


@dataclass(frozen=True, slots=True)
class _Tree:
    """A directory that waits as a tombstone to be emptied."""

    inode: int


def observe(place: Place, root: RootIdentity, *, directories: bool) -> str:
    """The identity of the thing at a place, `ABSENT` when there is none.

    Raises `ForbiddenError`, `RootChangedError`, `OSError`.
    """
    with opened_parent(place.root.real, root, place.parents) as parent:
        status = None if parent is None else look(parent, place.name)
        if status is None:
            return ABSENT
        check_removable(status, place.name, root[0], directories=directories)
        return identity(status)


class Removal:
    """One attempt. `remove` may be called again on the same object after it raised `FenceBusyError`."""

    def __init__(self, place: Place, root: RootIdentity, fence: Fence, call: CleanupCall, *, directories: bool) -> None:
        self._place = place
        self._root = root
        self._fence = fence
        self._call = call
        self._directories = directories
        self._tombstone = f"{RESERVED_PREFIX}{call.idempotency_key}".encode()
        self._removed = False
        self._took = False

    def remove(self) -> CleanupResult:
        """Do it. Raises `FenceBusyError`; everything else that happens is in the result."""
        try:
            self._remove()
        except _RefusedError as refused:
            return refused.result
        except StoppedError:
            return CleanupResult.failed(STOPPED)
        except OvertakenError as error:
            return CleanupResult.failed(str(error))
        except ForbiddenError as error:
            return CleanupResult.failed(str(error), retryable=False)
        except (RootChangedError, OSError) as error:
            return CleanupResult.failed(f"{self._place.target}: {error}")
        return CleanupResult.done() if self._removed else CleanupResult.already_gone()

    def _remove(self) -> None:
        place = self._place
        with opened_parent(place.root.real, self._root, place.parents) as parent:
            if parent is None:
                with self._fence.held() as table:
                    table.admit(place.target, self._call.fencing_token)
                return
            self._check_whole_tree(parent)
            while (tree := self._step(parent)) is not None:
                empty_tree(parent, self._tombstone, tree.inode, self._root[0], self._call.may_proceed)

    def _check_whole_tree(self, parent: int) -> None:
        """Refuse a directory that could not be removed whole before anything of it is gone."""
        status = look(parent, self._place.name) if self._directories else None
        if status is not None and stat.S_ISDIR(status.st_mode):
            check_tree(parent, self._place.name, self._root[0])

    def _step(self, parent: int) -> _Tree | None:
        """Go as far as a few calls under the lock lead. Return the directory to empty next, None at the end."""
        with contextlib.ExitStack() as kept, self._fence.held() as table:
            noted = table.admit(self._place.target, self._call.fencing_token)
            left = look(parent, self._tombstone)
            if left is not None:
                tree = self._finish(parent, left, noted)
                if tree is not None:
                    return tree
            if self._took:
                return None
            try:
                # Closed after the lock is given back: this is what frees the file's blocks.
                descriptor = kept.enter_context(_opened(parent, self._place.name))
            except FileNotFoundError:
                return None
            return self._take(parent, descriptor, table)

    def _take(self, parent: int, descriptor: int, table: FenceTable) -> _Tree | None:
        """Compare, rename, compare, and remove what the descriptor was opened on."""
        call, name = self._call, self._place.name
        status = os.fstat(descriptor)
        check_removable(status, name, self._root[0], directories=self._directories)
        if identity(status) != call.identity:
            was = "absent" if call.identity == ABSENT else call.identity
            message = f"changed since it was observed: it was {was}, and is {identity(status)}"
            raise _RefusedError(message, retryable=True)
        _check_stamp(descriptor, call.fencing_token)
        if not call.may_proceed():
            raise StoppedError
        table.note(self._place.target, fingerprint(status))
        rename_no_replace(parent, name, self._tombstone)
        self._took = True
        moved = look(parent, self._tombstone)
        if moved is None:
            return None
        if not is_same_after_rename(status, moved):
            self._put_back(parent, "it was replaced while it was being removed")
        return self._dispose(parent, moved)

    def _finish(self, parent: int, left: os.stat_result, noted: bytes | None) -> _Tree | None:
        """Finish what an earlier attempt has renamed."""
        if fingerprint(left) != noted:
            self._put_back(parent, "an interrupted attempt had renamed something else")
        return self._dispose(parent, left)

    def _dispose(self, parent: int, status: os.stat_result) -> _Tree | None:
        if not self._call.may_proceed():
            raise StoppedError
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(self._tombstone, dir_fd=parent)
            self._removed = True
            return None
        try:
            os.rmdir(self._tombstone, dir_fd=parent)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            return _Tree(status.st_ino)
        self._removed = True
        return None

    def _put_back(self, parent: int, reason: str) -> None:
        """Give a thing its name back that is not ours to remove; always raises."""
        try:
            rename_no_replace(parent, self._tombstone, self._place.name)
        except FileExistsError:
            message = f"{reason}; its name is taken again, so it was left as {self._tombstone.decode()} beside it"
            raise _RefusedError(message, retryable=False) from None
        message = f"{reason}; it was put back"
        raise _RefusedError(message, retryable=True)


@contextlib.contextmanager
def _opened(parent: int, name: bytes) -> Iterator[int]:
    descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _check_stamp(descriptor: int, token: int) -> None:
    """Refuse a thing that a writer stamped with a token that is not lower than the claim's."""
    try:
        # A descriptor opened with O_PATH takes no fgetxattr; its name under /proc leads to the same thing.
        stamp = os.getxattr(f"/proc/self/fd/{descriptor}", STAMP)
    except OSError as error:
        if error.errno in _NO_STAMP:
            return
        raise
    if not stamp.isdigit():
        message = f"its attribute {STAMP} holds no token; correct or remove it, then retry"
        raise _RefusedError(message, retryable=False)
    if int(stamp) >= token:
        message = f"it bears token {int(stamp)}, which is not lower than the claim's {token}"
        raise _RefusedError(message, retryable=True)
