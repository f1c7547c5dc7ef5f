"""The `s3` handler: one attempt removes what was there when it was observed, and nothing that came since.

Duty: look, compare with what the claim committed, delete, say whether more is left.

What fences (I1, I5), in the store, as the operator chose:

- `version`: what was observed is deleted by its version ids. What is written later has another id, whatever its bytes are.
- `etag`: an object is deleted if it still has the ETag that was observed. Other bytes have another ETag; the same bytes do not.
- `none`: nothing does. Between the comparison and the deletion an object that was made anew is lost.

Unfinished uploads are aborted by their ids, which are never used again: those are always fenced.

Invariants: what is deleted was found and is part of the identity that was committed; `may_proceed` is asked before each deletion; at
most `objects_max` objects and as many uploads in one attempt.
Must not know: aiobotocore.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from garbagetruck.cluster.cleanup.handler import ABSENT, CleanupCall, CleanupResult, Handler, ObservationError
from garbagetruck.cluster.cleanup.handlers.s3.options import EVERY_KEY, S3Options, read_s3_options
from garbagetruck.cluster.cleanup.handlers.s3.places import SCHEME, Place, locate
from garbagetruck.cluster.cleanup.settings import HandlerSettingsError

if TYPE_CHECKING:
    from garbagetruck.cluster.cleanup.handlers.s3.store import Found, Store, Upload

REQUESTS_IN_FLIGHT_MAX = 8
"""Deletions of one attempt at once."""
CHECK_TIMEOUT_S = 20.0

STOPPED = "stopped before its end: out of time, or this node leads no more"


@dataclass(frozen=True, slots=True)
class Sighting:
    """What was found at a place."""

    found: "tuple[Found, ...]"
    uploads: "tuple[Upload, ...]"
    is_whole: bool
    """Whether there is nothing beyond it."""

    @property
    def identity(self) -> str:
        """The text that a claim commits."""
        if not self.found and not self.uploads:
            return ABSENT
        lines = [f"o {each.key!r} {each.version_id} {each.etag} {each.size} {each.modified}" for each in self.found]
        lines += [f"u {each.key!r} {each.upload_id}" for each in self.uploads]
        digest = hashlib.blake2b("\n".join(sorted(lines)).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        more = "" if self.is_whole else " and more"
        return f"{len(self.found)} objects {len(self.uploads)} uploads{more} {digest}"


@dataclass(slots=True)
class _Tally:
    """What became of an attempt's deletions."""

    removed: int = 0
    stopped: bool = False
    errors: list[tuple[str, bool]] = field(default_factory=list)
    """With whether another attempt can do better."""


class S3Handler(Handler):
    """Removes things from the named buckets of one store."""

    scheme: ClassVar[str] = SCHEME

    def __init__(self, name: str, options: S3Options) -> None:
        self._options = options
        self._store_name = options.store or name
        self._store: Store | None = None
        self._heeds_conditions: set[str] = set()
        """Buckets that were seen to refuse a deletion whose condition does not hold."""

    @override
    def check(self) -> Sequence[str]:
        """Connects, lists, and asks what each bucket can do. Blocks, and must not be called on a loop."""
        assert self._store is None, "a handler that runs is not checked"
        return asyncio.run(self._check())

    @override
    def canonical_target(self, parameters: Mapping[str, str]) -> str:
        return locate(parameters, self._options.buckets).target(self._store_name)

    @override
    async def start(self) -> None:
        from garbagetruck.cluster.cleanup.handlers.s3.store import StoreError

        try:
            self._store = await _opened(self._options)
        except StoreError as error:
            raise ValueError(str(error)) from error

    @override
    async def stop(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            await store.close()

    @override
    async def observe(self, parameters: Mapping[str, str]) -> str:
        from garbagetruck.cluster.cleanup.handlers.s3.store import StoreError

        try:
            return (await self._look(locate(parameters, self._options.buckets))).identity
        except StoreError as error:
            raise ObservationError(str(error), retryable=error.retryable) from error

    @override
    async def clean(self, call: CleanupCall) -> CleanupResult:
        from garbagetruck.cluster.cleanup.handlers.s3.store import StoreError

        place = locate(call.parameters, self._options.buckets)
        try:
            sighting = await self._look(place)
            if sighting.identity != call.identity:
                was, now = call.identity or "absent", sighting.identity or "absent"
                return CleanupResult.failed(f"changed since it was observed: it was {was}, and is {now}")
            if sighting.found and (unfenced := await self._unfenced(place)) is not None:
                return CleanupResult.failed(unfenced)
        except StoreError as error:
            return CleanupResult.failed(str(error), retryable=error.retryable)
        return _result(await self._remove(place, sighting, call), sighting)

    async def _look(self, place: Place) -> Sighting:
        """What is there, up to the bounds. Raises `StoreError`."""
        store, limit = self._opened_store(), self._options.objects_max
        if place.upload_id:
            from garbagetruck.cluster.cleanup.handlers.s3.store import Upload

            wanted = Upload(place.key, place.upload_id)
            return Sighting((), (wanted,) if await store.has_upload(place.bucket, wanted) else (), is_whole=True)
        by_version = self._options.fence == "version"
        listing = store.versions if by_version else store.objects
        # Keys that merely begin with this one come after it in the list.
        found, more_objects = await listing(place.bucket, place.key, limit if by_version or place.is_prefix else 1)
        uploads, more_uploads = await self._uploads(place.bucket, place.key, limit)
        if place.is_prefix:
            return Sighting(tuple(found), tuple(uploads), is_whole=not more_objects and not more_uploads)
        ours = tuple(each for each in found if each.key == place.key)
        ours_too = tuple(each for each in uploads if each.key == place.key)
        more_versions = by_version and more_objects and len(ours) == len(found)
        is_whole = not more_versions and not (more_uploads and len(ours_too) == len(uploads))
        return Sighting(ours, ours_too, is_whole=is_whole)

    async def _uploads(self, bucket: str, prefix: str, limit: int) -> "tuple[Sequence[Upload], bool]":
        return await self._opened_store().uploads(bucket, prefix, limit) if self._options.uploads else ((), False)

    async def _unfenced(self, place: Place) -> str | None:
        """Why the fence that the operator chose would not hold in this bucket; None when it does. Raises `StoreError`."""
        store, bucket = self._opened_store(), place.bucket
        match self._options.fence:
            case "version" if not await store.has_versions(bucket):
                return f"{bucket} does not keep versions, so nothing fences: enable versioning, or choose another fence"
            case "etag" if bucket not in self._heeds_conditions:
                prefix = place.key[: place.key.rfind("/", 0, -1) + 1]
                if not await store.heeds_conditions(bucket, prefix):
                    return "the store does not heed If-Match, so nothing fences: choose another fence"
                self._heeds_conditions.add(bucket)
        return None

    async def _remove(self, place: Place, sighting: Sighting, call: CleanupCall) -> _Tally:
        store, bucket = self._opened_store(), place.bucket
        delete = {
            "version": store.delete_version,
            "etag": store.delete_unchanged,
            "none": store.delete_whatever,
        }[self._options.fence]
        tally = _Tally()
        await _all(tally, call, [partial(store.abort, bucket, each) for each in sighting.uploads])
        # What hides others goes last: or an older version would come to light for a moment.
        for is_latest in (False, True):
            batch = [each for each in sighting.found if each.is_latest is is_latest]
            await _all(tally, call, [partial(delete, bucket, each) for each in batch])
        return tally

    def _opened_store(self) -> "Store":
        assert self._store is not None, "the handler was started"
        return self._store

    async def _check(self) -> list[str]:
        from garbagetruck.cluster.cleanup.handlers.s3.store import StoreError

        problems: list[str] = []
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                self._store = await _opened(self._options)
                for bucket, prefixes in self._options.buckets.items():
                    for prefix in prefixes:
                        problem = await self._problem_with(bucket, "" if prefix == EVERY_KEY else prefix)
                        problems += [f"{bucket}/{prefix}: {problem}"] if problem is not None else []
        except StoreError as error:
            problems.append(str(error))
        except TimeoutError:
            problems.append(f"the store did not answer in {CHECK_TIMEOUT_S:g} s; see that it can be reached")
        finally:
            await self.stop()
        return problems

    async def _problem_with(self, bucket: str, prefix: str) -> str | None:
        from garbagetruck.cluster.cleanup.handlers.s3.store import StoreError

        store = self._opened_store()
        try:
            listing = store.versions if self._options.fence == "version" else store.objects
            await listing(bucket, prefix, 1)
            await self._uploads(bucket, prefix, 1)
            return await self._unfenced(Place(bucket, f"{prefix}x"))
        except StoreError as error:
            return str(error)


def s3_handlers() -> Callable[[Mapping[str, object], str], S3Handler]:
    """The factory of `s3` handlers. It raises `HandlerSettingsError`."""

    def make(options: Mapping[str, object], name: str) -> S3Handler:
        if find_spec("aiobotocore") is None:
            problem = "needs aiobotocore, which is not installed"
            raise HandlerSettingsError(name, "kind", problem, "install garbagetruck[s3]")
        return S3Handler(name, read_s3_options(name, options))

    return make


async def _opened(options: S3Options) -> "Store":
    from garbagetruck.cluster.cleanup.handlers.s3.store import Store  # aiobotocore is an extra

    store = Store(options)
    await store.open()
    return store


async def _all(tally: _Tally, call: CleanupCall, deletions: Sequence[Callable[[], Awaitable[bool]]]) -> None:
    """Run them, a few at once, each only if the attempt may still proceed."""
    from garbagetruck.cluster.cleanup.handlers.s3.store import StoreError

    waiting = iter(deletions)

    async def work() -> None:
        for delete in waiting:
            if tally.stopped or not call.may_proceed():
                tally.stopped = True
                return
            try:
                removed = await delete()
                tally.removed += removed  # read after the wait, not before
            except StoreError as error:
                tally.errors.append((str(error), error.retryable))

    async with asyncio.TaskGroup() as workers:
        for _ in range(min(REQUESTS_IN_FLIGHT_MAX, len(deletions))):
            workers.create_task(work())


def _result(tally: _Tally, sighting: Sighting) -> CleanupResult:
    wanted = len(sighting.found) + len(sighting.uploads)
    if tally.errors:
        first, _ = tally.errors[0]
        error = f"{len(tally.errors)} of {wanted} could not be removed: {first}"
        return CleanupResult.failed(error, retryable=any(retryable for _, retryable in tally.errors))
    if tally.stopped:
        return CleanupResult.failed(f"{STOPPED}; {tally.removed} of {wanted} were removed")
    if not sighting.is_whole:
        return CleanupResult.failed(f"{tally.removed} were removed, and more are left: the next attempt goes on")
    return CleanupResult.done() if tally.removed else CleanupResult.already_gone()
