"""A command that runs while a lease is held.

Duty: acquire, start, renew, pass signals on, end the command when the lease is lost, release, and say with which exit
code all that ended.
Invariants: the command is started only after the lease was acknowledged, and never when it was refused; every signal
from the first attempt to acquire on either reaches the command or keeps it from being started; whatever happens, the
lease is released, or told why not.
It must not know: flags, formats, resources.

Where there is a terminal in front, the command stays in our process group: Ctrl-C and its like then reach it from the
terminal itself, and are not sent a second time. Everywhere else it leads a group of its own, and signals go to all of
that group, so that `sh -c "a; b"` does not leave `a` behind.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from garbagetruck.cli.exits import Exit
from garbagetruck.cli.failures import exit_code
from garbagetruck.client import Lease, Truck
from garbagetruck.client.errors import GarbageTruckError, LeaseEnded, LeaseNotFound
from garbagetruck.durations import format_duration

T = TypeVar("T")

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
FROM_THE_TERMINAL = (signal.SIGINT, signal.SIGQUIT)
"""What a terminal sends to everybody in front of it by itself."""
RENEW_SHARE = 1 / 3
"""The lease is renewed when this share of its TTL is over, so that there are two more tries."""
RETRY_DELAY_S_MIN = 0.1
RETRY_DELAY_S_MAX = 1.0
NAP_S_MAX = 1.0
"""The loop's timers do not count suspend; what is left of the lease is looked at this often."""
GROUP_POLL_S = 0.05
NOT_EXECUTABLE = 126
NOT_FOUND = 127
SIGNAL_BASE = 128
"""Shells say 126, 127 and 128 + N, and so do we."""


class Told(Exception):
    """A signal came before the command was started."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.number = number


class Holding:
    """One command under one lease. For the main thread, where signals arrive; `run` is called once."""

    def __init__(
        self,
        truck: Truck,
        *,
        acquire: Callable[[], Awaitable[Lease]],
        argv: Sequence[str],
        environment: Mapping[str, str],
        keep_resource: bool,
        kill_after_s: float,
        call_s_max: float,
        note: Callable[[str], None],
    ) -> None:
        self._truck = truck
        self._acquire = acquire
        self._argv = argv
        self._environment = environment
        self._keep_resource = keep_resource
        self._kill_after_s = kill_after_s
        self._call_s_max = call_s_max
        self._note = note
        self._in_front = _is_in_front_of_a_terminal()
        self._process: asyncio.subprocess.Process | None = None
        self._told: asyncio.Future[signal.Signals] | None = None

    async def run(self) -> int:
        """Do all of it; returns the exit code. Raises `Told`, and what acquiring raises."""
        loop = asyncio.get_running_loop()
        self._told = loop.create_future()
        for number in PASSED_ON:
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            lease = await self._unless_told(self._acquire())
            return await self._run_under(lease)
        finally:
            for number in PASSED_ON:
                loop.remove_signal_handler(number)

    async def _unless_told(self, work: Awaitable[T]) -> T:
        assert self._told is not None
        task = asyncio.ensure_future(work)
        either: set[asyncio.Future[Any]] = {task, self._told}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.wait({task})
        raise Told(self._told.result())

    async def _run_under(self, lease: Lease) -> int:
        renewing = asyncio.create_task(self._renew(lease))
        kept = False
        try:
            code = await self._run_command(lease)
            kept = self._keep_resource and code == 0
        finally:
            renewing.cancel()
            await asyncio.wait({renewing})
            # Not an `await` of its own right: whatever ends us, the lease is given back first.
            released = await self._release(lease, keep_resource=kept)
        if not renewing.cancelled() and (failure := renewing.exception()) is not None:
            raise failure
        return code if released is None else released

    async def _run_command(self, lease: Lease) -> int:
        assert self._told is not None
        if self._told.done():
            return SIGNAL_BASE + self._told.result()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._argv,
                env={**os.environ, **self._environment, **_environment_of(lease)},
                process_group=None if self._in_front else 0,
            )
        except OSError as error:
            self._note(f"Error: {self._argv[0]} cannot be started: {error.strerror}; the lease is released")
            return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
        if self._told.done():
            self._send(self._told.result())
        ended = asyncio.create_task(self._process.wait())
        lost = asyncio.create_task(lease.lost.wait())
        await asyncio.wait({ended, lost}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            await self._end(lease, ended)
        lost.cancel()
        await asyncio.wait({lost})
        code = await ended
        if lease.lost.is_set():
            self._note(f"Error: the lease on {lease.resource} was lost before the command ended: {lease.lost.reason}")
            return Exit.PRECONDITION
        return code if code >= 0 else SIGNAL_BASE - code

    async def _end(self, lease: Lease, ended: asyncio.Task[int]) -> None:
        """Tell the command that it holds nothing any more: SIGTERM, then SIGKILL."""
        patience = format_duration(round(self._kill_after_s * 1_000))
        self._note(f"the lease on {lease.resource} is lost: {lease.lost.reason}; SIGTERM, and SIGKILL after {patience}")
        self._send(signal.SIGTERM)
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._kill_after_s
        await asyncio.wait({ended}, timeout=self._kill_after_s)
        while self._is_left(ended) and loop.time() < until_s:  # noqa: ASYNC110  # nothing tells of a group's end
            await asyncio.sleep(GROUP_POLL_S)
        if self._is_left(ended):
            self._note("it did not end; SIGKILL")
            self._send(signal.SIGKILL)

    def _is_left(self, ended: asyncio.Task[int]) -> bool:
        """Whether anything of the command is still there, its own children included where they are in its group."""
        if not ended.done():
            return True
        assert self._process is not None
        try:
            if not self._in_front:
                os.killpg(self._process.pid, 0)
        except ProcessLookupError:
            return False
        return not self._in_front

    def _on_signal(self, number: signal.Signals) -> None:
        assert self._told is not None
        if not self._told.done():
            self._told.set_result(number)
        if self._process is not None and not (self._in_front and number in FROM_THE_TERMINAL):
            self._send(number)

    def _send(self, number: signal.Signals) -> None:
        assert self._process is not None
        try:
            if self._in_front:
                self._process.send_signal(number)
            else:
                os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return

    async def _renew(self, lease: Lease) -> None:
        """Keep the lease alive until it is lost. Cancelled when the command has ended."""
        delay_s, failing = RETRY_DELAY_S_MIN, False
        while not lease.lost.is_set():
            early_s = lease.remaining - lease.ttl * (1 - RENEW_SHARE)
            if early_s > 0:
                await asyncio.sleep(min(early_s, NAP_S_MAX))
                continue
            try:
                await self._truck.renew(lease.id, timeout=min(self._call_s_max, lease.remaining))
            except (LeaseEnded, LeaseNotFound):
                return
            except GarbageTruckError as error:
                if not failing:
                    self._note(
                        f"Warning: the lease could not be renewed and ends in {lease.remaining:.1f} s: {error.message}"
                    )
                failing = True
                await asyncio.sleep(min(delay_s, lease.remaining))
                delay_s = min(delay_s * 2, RETRY_DELAY_S_MAX)
            else:
                if failing:
                    self._note("the lease is renewed again")
                delay_s, failing = RETRY_DELAY_S_MIN, False

    async def _release(self, lease: Lease, *, keep_resource: bool) -> int | None:
        """Give the lease back; returns the exit code when what was asked for has failed by that."""
        if lease.lost.is_set():
            return None
        try:
            await self._truck.release(lease.id, keep_resource=keep_resource)
        except LeaseEnded as error:
            self._note(f"Error: the lease on {lease.resource} was lost before it could be released: {error.message}")
            return Exit.PRECONDITION
        except GarbageTruckError as error:
            if keep_resource:
                self._note(f"Error: {lease.resource} could not be kept and will be cleaned: {error.message}")
                return exit_code(error)
            self._note(f"Warning: the lease could not be released and ends after its TTL: {error.message}")
        return None


def _environment_of(lease: Lease) -> Mapping[str, str]:
    return {
        "GARBAGETRUCK_LEASE_ID": lease.id,
        "GARBAGETRUCK_FENCING_TOKEN": str(lease.fencing_token),
        "GARBAGETRUCK_RESOURCE": lease.resource,
    }


def _is_in_front_of_a_terminal() -> bool:
    try:
        return sys.stdin is not None and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return False
