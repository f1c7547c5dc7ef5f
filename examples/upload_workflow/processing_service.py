"""Makes thumbnails, and holds picture, row and thumbnail while the customer works on them.

It deletes nothing, not even its own thumbnails: it gives its leases back, and what nobody else holds goes away. If it is
killed, nobody gives anything back, and the same happens when its session has been silent for its TTL.
"""

import asyncio

from aiohttp import web

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
    thumbnail,
)
from examples.upload_workflow.png import shrink
from examples.upload_workflow.services import Surroundings, run, serve
from garbagetruck.client import Lease, Session
from garbagetruck.client.errors import GarbageTruckError, ResourceHasOtherHolders

CALL_TIMEOUT_S = 20.0
"""For calls to the cluster: longer than any election, so that a leader's end is a pause and not an error."""
EDITING_S = 0.4
"""How long a customer takes to decide."""
KEEP_PAUSE_S = 0.1


class ProcessingService:
    """Takes pictures over and works on them at once, each in a task of its own."""

    def __init__(self, around: Surroundings, journal: Journal, session: Session, tasks: asyncio.TaskGroup) -> None:
        self._around = around
        self._journal = journal
        self._session = session
        self._tasks = tasks

    async def take_over(self, request: web.Request) -> web.Response:
        """`POST /pictures/NUMBER`: answered once all leases are held, so that the caller may give back its own."""
        number = int(request.match_info["number"])
        leases: list[Lease] = []
        try:
            for thing in (image(number), row(number), thumbnail(number)):
                lease = await self._lease(thing)
                leases.append(lease)
        except GarbageTruckError as error:
            for lease in leases:
                await self._give_back(lease)
            return web.Response(status=503, text=error.message)
        self._tasks.create_task(self._work(number, leases))
        return web.Response(status=202)

    async def _work(self, number: int, leases: list[Lease]) -> None:
        picture = await asyncio.to_thread(path_of(self._around.folder, image(number)).read_bytes)
        small = await asyncio.to_thread(shrink, picture)
        await asyncio.to_thread(path_of(self._around.folder, thumbnail(number)).write_bytes, small)
        self._journal.note(Did.CREATED, thumbnail(number))
        await asyncio.sleep(EDITING_S)
        for lease in leases:
            match fate_of(number):
                case Fate.PUBLISHED:
                    await self._keep(lease)
                case Fate.DISCARDED:
                    await self._give_back(lease)
                case _:
                    pass  # the session keeps the lease alive
        self._journal.note(Did.FINISHED, image(number))

    async def _lease(self, thing: str) -> Lease:
        lease = await self._session.acquire(thing, cleanup=cleanup_of(thing), grace=GRACE_S)
        note_life(self._journal, self._session)
        self._journal.note(Did.LEASED, thing)
        return lease

    async def _give_back(self, lease: Lease) -> None:
        self._journal.note(Did.GIVING_BACK, lease.resource)
        await self._session.release(lease)
        self._journal.note(Did.GAVE_BACK, lease.resource)

    async def _keep(self, lease: Lease) -> None:
        """Take a thing off the books for good; its last holder alone can do that, so wait until we are."""
        self._journal.note(Did.KEEPING, lease.resource)
        while True:
            try:
                await self._session.release(lease, keep_resource=True)
            except ResourceHasOtherHolders:
                await asyncio.sleep(KEEP_PAUSE_S)
            else:
                self._journal.note(Did.KEPT, lease.resource)
                return


async def serve_processing(around: Surroundings, journal: Journal) -> None:
    async with (
        garbagetruck.connect(around.endpoints, timeout=CALL_TIMEOUT_S) as truck,
        truck.session(holder=around.name, ttl=SESSION_TTL_S) as session,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(keep_noting_life(journal, session))
        service = ProcessingService(around, journal, session, tasks)
        application = web.Application()
        application.router.add_post("/pictures/{number:[0-9]+}", service.take_over)
        await serve(application, around.folder, "processing")
        await asyncio.Event().wait()


if __name__ == "__main__":
    run(serve_processing)
