"""How a node that was removed leaves: not before the others can do without it.

Duty: it has applied its own removal, and serves nobody. The others may not have heard yet that the removal is committed,
and if the leader dies at this moment they need this node's vote still. So it goes on answering until its record is gone,
which the leader has had proposed after the removal was applied there, or until nobody talks to it.
Invariants: it lasts `FAREWELL_S_MAX` at most. Must not know: what it answers.
"""

import asyncio
from collections.abc import Callable

FAREWELL_S_MAX = 10.0
LOOK_EVERY_S = 0.05


async def answer_on(*, is_recorded: Callable[[], bool], is_connected: Callable[[], bool]) -> bool:
    """Return when the node is of no more use to the others, or after `FAREWELL_S_MAX`. Whether it was the former."""
    try:
        async with asyncio.timeout(FAREWELL_S_MAX):
            while is_recorded() and is_connected():  # noqa: ASYNC110 - neither rings a bell
                await asyncio.sleep(LOOK_EVERY_S)
    except TimeoutError:
        return False
    return True
