"""A bucket for one test, seen past the handler, and `s3` handlers over it.

Duty: make a bucket, write and list in it. It must not know: how the handler works.
"""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from garbagetruck.cluster.cleanup.handlers.s3 import S3Handler, s3_handlers
from tests.integration.cleanup.s3_server import ACCESS_KEY_ID, SECRET_ACCESS_KEY, SeaweedServer

CREDENTIALS = {"access_key_id": ACCESS_KEY_ID, "secret_access_key": SECRET_ACCESS_KEY}


class Bucket:
    """One bucket."""

    def __init__(self, client: Any, url: str, name: str) -> None:
        self.client = client
        self.url = url
        self.name = name

    async def write(self, key: str, content: bytes = b"an image") -> None:
        await self.client.put_object(Bucket=self.name, Key=key, Body=content)

    async def keep_versions(self, status: str) -> None:
        """`Enabled` or `Suspended`."""
        await self.client.put_bucket_versioning(Bucket=self.name, VersioningConfiguration={"Status": status})

    async def read(self, key: str) -> bytes:
        answer = await self.client.get_object(Bucket=self.name, Key=key)
        return bytes(await answer["Body"].read())

    async def begin_upload(self, key: str) -> str:
        """Begin one, with a part; answers its id."""
        upload_id = str((await self.client.create_multipart_upload(Bucket=self.name, Key=key))["UploadId"])
        await self.client.upload_part(Bucket=self.name, Key=key, UploadId=upload_id, PartNumber=1, Body=b"x" * 100)
        return upload_id

    async def keys(self) -> set[str]:
        listed = await self.client.list_objects_v2(Bucket=self.name)
        return {each["Key"] for each in listed.get("Contents", ())}

    async def versions(self) -> list[tuple[str, str]]:
        """All of them, deletion markers included: (key, version id)."""
        listed = await self.client.list_object_versions(Bucket=self.name)
        found = [*listed.get("Versions", ()), *listed.get("DeleteMarkers", ())]
        return [(each["Key"], each["VersionId"]) for each in found]

    async def uploads(self) -> set[tuple[str, str]]:
        listed = await self.client.list_multipart_uploads(Bucket=self.name)
        return {(each["Key"], each["UploadId"]) for each in listed.get("Uploads", ())}

    def made_handler(self, fence: str, **options: object) -> S3Handler:
        given: dict[str, object] = {"buckets": {self.name: ["*"]}, "credentials": CREDENTIALS, "endpoint_url": self.url}
        return s3_handlers()({**given, "fence": fence, **options}, "blobs")

    @asynccontextmanager
    async def handler(self, fence: str, **options: object) -> AsyncIterator[S3Handler]:
        """A started handler; each stands for a process of its own."""
        handler = self.made_handler(fence, **options)
        await handler.start()
        try:
            yield handler
        finally:
            await handler.stop()


@asynccontextmanager
async def bucket_of(server: SeaweedServer, *, versioned: bool) -> AsyncIterator[Bucket]:
    """A new bucket of a server. It is left behind: the server's folder goes as a whole."""
    config = AioConfig(s3={"addressing_style": "path"}, proxies={}, retries={"total_max_attempts": 3})
    keys = {"aws_access_key_id": ACCESS_KEY_ID, "aws_secret_access_key": SECRET_ACCESS_KEY}
    context = get_session().create_client("s3", region_name="us-east-1", endpoint_url=server.url, config=config, **keys)
    async with context as client:
        name = f"b-{secrets.token_hex(6)}"
        await client.create_bucket(Bucket=name)
        bucket = Bucket(client, server.url, name)
        if versioned:
            await bucket.keep_versions("Enabled")
        yield bucket
