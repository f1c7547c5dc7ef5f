"""SIGTERM and SIGHUP end a command as Ctrl-C does, and let it clean up."""

import asyncio
import signal

import pytest

from garbagetruck.cli.termination import NUMBERS, interrupted_by_termination


@pytest.mark.parametrize("number", NUMBERS)
def test_a_step_that_has_begun_is_finished_before_anything_is_cancelled(number: signal.Signals) -> None:
    """Else a process which that step has started is lost: nobody has heard of it yet."""
    seen: list[str] = []

    async def command() -> None:
        try:
            signal.raise_signal(number)
            seen.append("the step went on")
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            seen.append("and was cleaned up after")
            raise

    with pytest.raises(KeyboardInterrupt), interrupted_by_termination():
        asyncio.run(command())
    assert seen == ["the step went on", "and was cleaned up after"]


@pytest.mark.parametrize("number", NUMBERS)
def test_outside_of_a_loop_it_is_an_interrupt_at_once(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), interrupted_by_termination():
        signal.raise_signal(number)


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in NUMBERS]
    with interrupted_by_termination():
        assert [signal.getsignal(number) for number in NUMBERS] != before
    assert [signal.getsignal(number) for number in NUMBERS] == before
