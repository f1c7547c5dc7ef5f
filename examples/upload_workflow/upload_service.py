"""Takes customers' pictures in. Every thing is leased *before* it is made: a crash in between orphans nothing.

For each picture: lease image and row, write the image, have the row written, then hand both over to the processing
service. The hand-over is safe because the next holder takes its leases before this one gives its own back.
"""

import asyncio
from contextlib import AsyncExitStack

import aiohttp

import garbagetruck
from examples.upload_workflow.journal import Did, Journal, keep_noting_life, note_life
from examples.upload_workflow.pictures import (
    GRACE_S,
    SESSION_TTL_S,
    Fate,
    cleanup_of,
    fate_of,
    image,
    path_of,
    row,
)
from examples.upload_workflow.png import paint
from examples.upload_workflow.services import Surroundings, address_of, run
from garbagetruck.client import Lease, Session

BETWEEN_PICTURES_S = 0.1
CALL_TIMEOUT_S = 20.0
"""For calls to the cluster: longer than any election, so that a leader's end is a pause and not an error."""
HAND_OVER_S_MAX = 60.0
HAND_OVER_PAUSE_S = 0.2


class UploadService:
    """Uploads one picture after the other. Everything is lent to it."""

    def __init__(self, around: Surroundings, journal: Journal, session: Session, web: aiohttp.ClientSession) -> None:
        self._around = around
        self._journal = journal
        self._session = session
        self._web = web

    async def upload(self, number: int) -> None:
        image_lease = await self._lease(image(number))
        row_lease = await self._lease(row(number))
        path = path_of(self._around.folder, image(number))
        await asyncio.to_thread(path.write_bytes, await asyncio.to_thread(paint, number))
        self._journal.note(Did.CREATED, image(number))
        await self._write_row(number, row_lease)
        self._journal.note(Did.CREATED, row(number))
        if fate_of(number) is Fate.DRAFT:
            return  # the session keeps both leases alive
        await self._hand_over(number)
        for lease in (image_lease, row_lease):
            self._journal.note(Did.GIVING_BACK, lease.resource)
            await self._session.release(lease)
            self._journal.note(Did.GAVE_BACK, lease.resource)

    async def _lease(self, thing: str) -> Lease:
        lease = await self._session.acquire(thing, cleanup=cleanup_of(thing), grace=GRACE_S)
        note_life(self._journal, self._session)
        self._journal.note(Did.LEASED, thing)
        return lease

    async def _write_row(self, number: int, lease: Lease) -> None:
        # The token lets the index tell this row from an earlier one of the same name, when a late delete arrives.
        content = {"image": image(number), "fencing_token": lease.fencing_token}
        address = f"{address_of(self._around.folder, 'index')}/{row(number)}"
        async with self._web.put(address, json=content) as answer:
            answer.raise_for_status()

    async def _hand_over(self, number: int) -> None:
        """Ask the processing service to take the picture, until it has; while there is none, the picture is ours."""
        async with asyncio.timeout(HAND_OVER_S_MAX):
            while True:
                try:
                    address = f"{address_of(self._around.folder, 'processing')}/pictures/{number}"
                    async with self._web.post(address) as answer:
                        if answer.ok:
                            return
                except (aiohttp.ClientError, FileNotFoundError):
                    pass
                await asyncio.sleep(HAND_OVER_PAUSE_S)


async def serve_uploads(around: Surroundings, journal: Journal) -> None:
    async with AsyncExitStack() as stack:
        truck = await stack.enter_async_context(garbagetruck.connect(around.endpoints, timeout=CALL_TIMEOUT_S))
        web = await stack.enter_async_context(aiohttp.ClientSession())
        session = await stack.enter_async_context(truck.session(holder=around.name, ttl=SESSION_TTL_S))
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        tasks.create_task(keep_noting_life(journal, session))
        service = UploadService(around, journal, session, web)
        for number in range(around.images):
            await service.upload(number)
            await asyncio.sleep(BETWEEN_PICTURES_S)
        journal.note(Did.FINISHED)


if __name__ == "__main__":
    run(serve_uploads)
