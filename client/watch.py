"""Following what happens, through the failure of nodes.

Duty: one endless sequence of events, resumed by itself where it broke off.
Invariant: from the first response on no event is missed and none comes twice; when events were missed, `EventsLost`
says so.
"""

import asyncio
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing

from garbagetruck.client.caller import Caller
from garbagetruck.client.errors import DeadlineExceeded, OutcomeUnknown, Unavailable
from garbagetruck.client.fitting import fit
from garbagetruck.client.overview import Event
from garbagetruck.client.retry import Backoff
from garbagetruck.client.translate import event_record, event_type_value
from garbagetruck.v1 import event_pb2

FIRST_RESPONSE_S_MAX = 5.0
"""The API promises the first response at once."""
SILENCE_S_MAX = 30.0
"""The API promises a response every 10 seconds; after this long without one the stream is taken for broken."""


async def watch(
    caller: Caller,
    *,
    from_index: int,
    all_namespaces: bool,
    resource: str,
    types: Collection[str],
    patience_s: float,
) -> AsyncGenerator[Event, None]:
    """Yield events by rising index, without end.

    Raises `Unavailable` when no node has answered for `patience_s` seconds, `EventsLost`, `InvalidArgument`,
    `NamespaceNotFound`.
    """
    loop = asyncio.get_running_loop()
    request = fit(
        "",
        event_pb2.WatchRequest,
        namespace="" if all_namespaces else caller.namespace,
        from_index=from_index,
        all_namespaces=all_namespaces,
        resource=resource,
        types=list(map(event_type_value, types)),
    )
    failing_since: float | None = None
    backoff = Backoff(caller.world.random)
    while True:
        responses = caller.connection.stream(
            lambda stubs: stubs.event.Watch,
            request,
            first_s_max=FIRST_RESPONSE_S_MAX,
            silence_s_max=SILENCE_S_MAX,
        )
        try:
            async with aclosing(responses):
                async for response in responses:
                    failing_since = None
                    backoff = Backoff(caller.world.random)
                    for event in response.events:
                        yield event_record(event)
                    request.from_index = response.next_index
        except (Unavailable, OutcomeUnknown, DeadlineExceeded) as error:
            failing_since = loop.time() if failing_since is None else failing_since
            delay_s = backoff.next_delay_s(error.retry_after_s)
            if loop.time() + delay_s - failing_since >= patience_s:
                raise
            await asyncio.sleep(delay_s)
