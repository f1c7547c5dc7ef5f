"""Requests to a store that speaks S3, one for each call, and what goes wrong with them.

Duty: list, delete, abort; tell what a bucket can do. The only place that knows aiobotocore.
Invariants: a call sends its requests once: nothing is repeated or redirected behind its back, since whoever repeats a deletion has to
ask again whether it may (I8). Every answer is waited for within bounds. No error holds a credential.
Must not know: claims, which things may be removed.

Threads: one event loop.
"""

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError
from typing_extensions import override

from garbagetruck.cluster.cleanup.handlers.s3.options import S3Options
from garbagetruck.cluster.cleanup.handlers.s3.places import RESERVED_PREFIX

CONNECTIONS_MAX = 100
PAGE_MAX = 1_000
"""What a store lists at once."""
MESSAGE_CHARACTERS_MAX = 300

_GONE = frozenset({"NoSuchKey", "NoSuchVersion", "NoSuchUpload", "NotFound", "404"})
_CHANGED = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412"})
_FOR_GOOD = frozenset({"NotImplemented", "MethodNotAllowed", "InvalidArgument", "KeyTooLongError", "501", "405"})
_NO_VERSION = "null"
"""The id of what was written while versioning was not enabled."""


class StoreError(Exception):
    """Something did not work; `str()` is for the operator. With `retryable=False` the same would happen again."""

    def __init__(self, error: str, *, retryable: bool = True) -> None:
        super().__init__(error)
        self.retryable = retryable


class ChangedError(StoreError):
    """The store found another object than the one that was named."""


@dataclass(frozen=True, slots=True)
class Found:
    """An object, or one of its versions."""

    key: str
    etag: str
    size: int
    modified: str
    version_id: str = ""
    """Empty where versions are not looked at."""
    is_latest: bool = True
    is_marker: bool = False
    """Whether it stands for a deletion."""


@dataclass(frozen=True, slots=True)
class Upload:
    """One that was begun, and neither completed nor aborted."""

    key: str
    upload_id: str


class Store:
    """One endpoint, under one set of credentials. Made without touching anything."""

    def __init__(self, options: S3Options) -> None:
        self._options = options
        self._kept = contextlib.AsyncExitStack()
        self._client: Any = None

    async def open(self) -> None:
        """Connects to nothing yet: a store that is away keeps no node from starting. Raises `StoreError`."""
        options, credentials = self._options, self._options.credentials
        given = (
            {}
            if credentials is None
            else {
                "aws_access_key_id": credentials.access_key_id,
                "aws_secret_access_key": credentials.secret_access_key,
                "aws_session_token": credentials.session_token or None,
            }
        )
        config = AioConfig(
            signature_version="s3v4",
            connect_timeout=options.connect_timeout_s,
            read_timeout=options.answer_timeout_s,
            max_pool_connections=CONNECTIONS_MAX,
            retries={"total_max_attempts": 1, "mode": "standard"},
            s3={"addressing_style": "path" if options.path_style else "virtual"},
            proxies={},
            ignore_configured_endpoint_urls=True,
            # Many servers do not know the checksums that are the default at AWS.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            user_agent_extra="garbagetruck",
            http_session_cls=_OnceSession,
        )
        try:
            context = get_session().create_client(
                "s3",
                region_name=options.region,
                endpoint_url=options.endpoint_url or None,
                verify=options.tls_authority or True,
                config=config,
                **given,
            )
            self._client = await self._kept.enter_async_context(context)
        except (BotoCoreError, ValueError, OSError) as error:
            raise StoreError(f"the store's client cannot be made: {error}") from error
        self._client.meta.events.register("before-call.s3", _follow_no_redirect)

    async def close(self) -> None:
        self._client = None
        await self._kept.aclose()

    # -- looking ------------------------------------------------------------------------------------------------

    async def objects(self, bucket: str, prefix: str, limit: int) -> tuple[list[Found], bool]:
        """Objects whose keys begin so, in the keys' order, and whether there are more than `limit`."""

        def read(page: Any) -> list[Found]:
            return [_object(each) for each in page.get("Contents", ())]

        return await self._listed("list_objects_v2", read, limit, Bucket=bucket, Prefix=prefix)

    async def versions(self, bucket: str, prefix: str, limit: int) -> tuple[list[Found], bool]:
        """All versions of such objects, deletion markers included, and whether there are more than `limit`."""

        def read(page: Any) -> list[Found]:
            versions = [_version(each, is_marker=False) for each in page.get("Versions", ())]
            versions += [_version(each, is_marker=True) for each in page.get("DeleteMarkers", ())]
            return sorted(versions, key=lambda each: each.key)  # so that a bound cuts no key but the last

        return await self._listed("list_object_versions", read, limit, Bucket=bucket, Prefix=prefix)

    async def uploads(self, bucket: str, prefix: str, limit: int) -> tuple[list[Upload], bool]:
        """Unfinished uploads to keys that begin so, and whether there are more than `limit`."""

        def read(page: Any) -> list[Upload]:
            return [Upload(each["Key"], each["UploadId"]) for each in page.get("Uploads", ())]

        return await self._listed("list_multipart_uploads", read, limit, Bucket=bucket, Prefix=prefix)

    async def has_upload(self, bucket: str, upload: Upload) -> bool:
        """Whether this upload is unfinished."""
        try:
            async with _told("list_parts"):
                await self._client.list_parts(Bucket=bucket, Key=upload.key, UploadId=upload.upload_id, MaxParts=1)
        except _GoneError:
            return False
        return True

    async def has_versions(self, bucket: str) -> bool:
        """Whether everything that is written now gets a version id of its own."""
        async with _told("get_bucket_versioning"):
            answer = await self._client.get_bucket_versioning(Bucket=bucket)
        return bool(answer.get("Status") == "Enabled")

    async def heeds_conditions(self, bucket: str, prefix: str) -> bool:
        """Whether a deletion with a condition that cannot hold is refused. Asks for one of a key that nobody can have."""
        try:
            async with _told("delete_object"):
                await self._client.delete_object(Bucket=bucket, Key=f"{prefix}{RESERVED_PREFIX}probe", IfMatch='"none"')
        except ChangedError:
            return True
        except _GoneError:
            return True
        return False

    # -- removing -----------------------------------------------------------------------------------------------

    async def delete_version(self, bucket: str, found: Found) -> bool:
        """Delete exactly this version. False when it is gone already."""
        assert found.version_id, "it was found among versions"
        return await self._removed("delete_object", Bucket=bucket, Key=found.key, VersionId=found.version_id)

    async def delete_unchanged(self, bucket: str, found: Found) -> bool:
        """Delete the object if it still has this ETag. False when it is gone already. Raises `ChangedError`."""
        return await self._removed("delete_object", Bucket=bucket, Key=found.key, IfMatch=found.etag)

    async def delete_whatever(self, bucket: str, found: Found) -> bool:
        """Delete what is there under this key. False when it is gone already, if the store tells."""
        return await self._removed("delete_object", Bucket=bucket, Key=found.key)

    async def abort(self, bucket: str, upload: Upload) -> bool:
        """End exactly this upload, and free its parts. False when it has ended already."""
        return await self._removed("abort_multipart_upload", Bucket=bucket, Key=upload.key, UploadId=upload.upload_id)

    async def _removed(self, operation: str, **arguments: str) -> bool:
        try:
            async with _told(operation):
                await getattr(self._client, operation)(**arguments)
        except _GoneError:
            return False
        return True

    async def _listed(
        self, operation: str, read: Callable[[Any], list[Any]], limit: int, **arguments: str
    ) -> tuple[list[Any], bool]:
        found: list[Any] = []
        page_size = "MaxUploads" if operation == "list_multipart_uploads" else "MaxKeys"
        pages = self._client.get_paginator(operation).paginate(**arguments, **{page_size: min(limit + 1, PAGE_MAX)})
        async with _told(operation):
            async for page in pages:
                found += read(page)
                if len(found) > limit:
                    break
        return found[:limit], len(found) > limit


class _GoneError(StoreError):
    """What was named is not there: a success for a deletion, and an error for a list."""


@asynccontextmanager
async def _told(operation: str) -> AsyncIterator[None]:
    """Say what went wrong as errors of ours."""
    try:
        yield
    except ClientError as error:
        told = error.response.get("Error", {})
        code = str(told.get("Code", ""))
        said = " ".join(f"{operation}: {code}: {told.get('Message', '')}".split())[:MESSAGE_CHARACTERS_MAX]
        if code in _GONE:
            raise _GoneError(said) from None
        if code in _CHANGED:
            raise ChangedError(said) from None
        raise StoreError(said, retryable=code not in _FOR_GOOD) from None
    except (BotoCoreError, TimeoutError, OSError) as error:
        said = " ".join(f"{operation}: {error}".split())[:MESSAGE_CHARACTERS_MAX]
        raise StoreError(said) from None


def _object(listed: Any) -> Found:
    return Found(listed["Key"], listed["ETag"], listed["Size"], listed["LastModified"].isoformat())


def _version(listed: Any, *, is_marker: bool) -> Found:
    return Found(
        listed["Key"],
        listed.get("ETag", ""),
        listed.get("Size", 0),
        listed["LastModified"].isoformat(),
        listed.get("VersionId") or _NO_VERSION,
        bool(listed.get("IsLatest")),
        is_marker,
    )


def _follow_no_redirect(context: Any, **_: Any) -> None:
    """Have botocore believe that this request was redirected already, as it does not do twice."""
    context.setdefault("s3_redirect", {})["redirected"] = True


class _OnceSession(AIOHTTPSession):  # type: ignore[misc]  # published without annotations
    """Sends each request once, and follows no redirect: aiohttp would do both for a `DELETE`."""

    @override
    async def _get_session(self, proxy_url: str | None) -> "_Once":
        return _Once(await super()._get_session(proxy_url))


class _Once:
    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def request(self, method: str, **arguments: Any) -> aiohttp.ClientResponse:
        return await self._session.request(method, allow_redirects=False, middlewares=(_send_once,), **arguments)


class ConnectionBrokenError(aiohttp.ClientError):
    """The connection broke after the request may have been sent."""


async def _send_once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    try:
        return await send(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise ConnectionBrokenError(str(error)) from error
