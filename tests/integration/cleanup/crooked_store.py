"""A server that looks like an S3 store to a handler, and answers deletions as a test says.

Duty: list one object, `tmp/42` in `bucket`, and no upload; tell what was asked.
"""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
LISTED = """<?xml version="1.0"?><ListBucketResult><Name>bucket</Name><KeyCount>1</KeyCount><Contents><Key>tmp/42</Key>
<LastModified>2030-01-01T00:00:00.000Z</LastModified><ETag>"e"</ETag><Size>1</Size></Contents></ListBucketResult>"""
NO_UPLOADS = '<?xml version="1.0"?><ListMultipartUploadsResult><Bucket>bucket</Bucket></ListMultipartUploadsResult>'


@asynccontextmanager
async def crooked_store(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[str, list[str]]]:
    """A server that lists one object, and answers deletions as it is told; with what it was asked."""
    asked: list[str] = []

    async def take(request: web.Request) -> web.StreamResponse:
        asked.append(f"{request.method} {request.path}")
        if request.method == "GET":
            text = NO_UPLOADS if "uploads" in request.query else LISTED
            return web.Response(text=text, content_type="application/xml")
        return await answer(request)

    application = web.Application()
    application.router.add_route("*", "/{anything:.*}", take)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"{'http' if tls is None else 'https'}://{host}:{port}", asked
    finally:
        await runner.cleanup()
