"""Running one command against the cluster: connect, call, and turn what went wrong into words and an exit code."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import typer

from garbagetruck.cli.exits import Exit, exit_code
from garbagetruck.cli.invocation import Invocation
from garbagetruck.cli.render import note
from garbagetruck.client import Truck, connect
from garbagetruck.client.errors import GarbageTruckError

T = TypeVar("T")


def call(invocation: Invocation, work: Callable[[Truck], Awaitable[T]]) -> T:
    """Run `work` with a connected client. Ends the process with the contract's exit code when it fails."""

    async def connected() -> T:
        async with connect(invocation.endpoints, namespace=invocation.namespace, timeout=invocation.timeout_s) as truck:
            return await work(truck)

    try:
        return asyncio.run(connected())
    except GarbageTruckError as error:
        note(f"Error: {error.message}" + (f" [{error.reason}]" if error.reason else ""))
        raise typer.Exit(exit_code(error)) from error
    except ValueError as error:
        note(f"Error: {error}")
        raise typer.Exit(Exit.USAGE) from error
    except KeyboardInterrupt as interrupt:
        raise typer.Exit(Exit.INTERRUPTED) from interrupt
