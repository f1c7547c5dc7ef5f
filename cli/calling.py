"""Running one command against the cluster: connect, call, and turn what went wrong into words and an exit code."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from typing import TypeVar

import typer

from garbagetruck.cli.exits import Exit
from garbagetruck.cli.failures import exit_code
from garbagetruck.cli.invocation import Invocation
from garbagetruck.cli.render import note
from garbagetruck.cli.wording import words
from garbagetruck.client import Listing, Truck, connect, real_world
from garbagetruck.client.errors import GarbageTruckError

T = TypeVar("T")

PAGE_ITEMS_MAX = 1_000
"""How many items the API gives in one page."""


def call(invocation: Invocation, work: Callable[[Truck], Awaitable[T]]) -> T:
    """Run `work` with a connected client. Ends the process with the contract's exit code when it fails."""
    world = real_world()
    used_ids: list[str] = []

    def request_id() -> str:
        used_ids.append(invocation.request_id or world.new_request_id())
        return used_ids[-1]

    try:
        connection = connect(
            invocation.endpoints,
            namespace=invocation.namespace,
            timeout=invocation.timeout_s,
            world=dataclasses.replace(world, new_request_id=request_id),
        )
    except ValueError as error:
        note(f"Error: --endpoints: {error}")
        raise typer.Exit(Exit.USAGE) from error

    async def connected() -> T:
        async with connection as truck:
            return await work(truck)

    try:
        return asyncio.run(connected())
    except GarbageTruckError as error:
        note(words(error, invocation, used_ids[-1] if used_ids else invocation.request_id))
        raise typer.Exit(exit_code(error)) from error
    except KeyboardInterrupt as interrupt:
        raise typer.Exit(Exit.INTERRUPTED) from interrupt


async def collect(invocation: Invocation, listing: Callable[[int], Listing[T]]) -> tuple[list[T], str]:
    """Get what `--limit`, `--all` and `--page-token` ask for, and the token of what follows (empty: nothing does).

    `listing`: the list, in pages of a given size.
    """
    limit, token = invocation.paging.limit, invocation.paging.page_token
    rows: list[T] = []
    while True:
        room = PAGE_ITEMS_MAX if limit is None else min(PAGE_ITEMS_MAX, limit - len(rows))
        page = await listing(room).page(token)
        rows += page.items
        token = page.next_page_token
        if not token or len(rows) == limit:
            return rows, token
