"""A removed node answers until the others can do without it."""

import asyncio

import pytest

from garbagetruck.cluster.node import farewell
from tests.unit.node.rig import turns


@pytest.mark.parametrize("ends", ["recorded", "connected"])
async def test_it_answers_while_it_is_recorded_and_somebody_talks_to_it(
    ends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(farewell, "LOOK_EVERY_S", 0)
    so = {"recorded": True, "connected": True}
    leaving = asyncio.ensure_future(
        farewell.answer_on(is_recorded=lambda: so["recorded"], is_connected=lambda: so["connected"])
    )
    await turns()
    assert not leaving.done()
    so[ends] = False
    assert await leaving


async def test_it_answers_for_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(farewell, "FAREWELL_S_MAX", 0.01)
    assert not await farewell.answer_on(is_recorded=lambda: True, is_connected=lambda: True)
