"""The fleet's brake is made when it can be read and used, once, and what an operator has set stays."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec.structs import replace

from garbagetruck.cluster.machine.brake_operations import SetFleetBrake
from garbagetruck.cluster.machine.brake_records import FleetBrake, FleetSettings
from garbagetruck.cluster.machine.operations import AcquireLease, RegisterMember
from garbagetruck.cluster.node.fleet_brake import FleetBrakeMaker
from tests.unit.node.rig import Rig, turns

LEVEL = 4


@asynccontextmanager
async def leading(*, level: int = LEVEL) -> AsyncIterator[Rig]:
    """A leader with the maker beside it, in a cluster whose members read up to `level`."""
    rig = Rig()
    maker = FleetBrakeMaker(machine=rig.machine, queue=rig.queue, leadership=rig.leadership, clock=rig.clock)
    rig.applier.listen(rig.leadership, maker)
    await rig.start()
    await rig.lead()
    await rig.create()
    registrations = [RegisterMember(replace(each, feature_level=level)) for each in rig.machine.members()]
    await rig.queue.submit(registrations, timeout_s=1)
    running = asyncio.get_running_loop().create_task(maker.run())
    try:
        yield rig
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await rig.stop()


async def hold(rig: Rig, holders: int) -> None:
    taken = [
        AcquireLease(0, "default", f"q{number}", f"lease-{number}", f"r{number}", f"h{number}", 60_000)
        for number in range(holders)
    ]
    await rig.queue.submit(taken, timeout_s=1)
    await turns()


def made_by(rig: Rig) -> FleetBrake:
    made = rig.machine.fleet_brake
    assert made is not None
    return made


async def test_it_is_made_once_there_are_as_many_holders_as_it_takes() -> None:
    async with leading() as rig:
        await hold(rig, 4)
        assert rig.machine.fleet_brake is None
        await hold(rig, 5)
        made = made_by(rig)
        assert (made.settings, made.revision) == (FleetSettings(), 1)
        await hold(rig, 9)
        assert made_by(rig) == made


async def test_it_is_not_made_while_a_member_cannot_read_it() -> None:
    async with leading(level=LEVEL - 1) as rig:
        await hold(rig, 9)
        assert rig.machine.fleet_brake is None
        assert rig.machine.feature_level < LEVEL


async def test_what_an_operator_has_set_before_stays() -> None:
    async with leading() as rig:
        settings = FleetSettings(enabled=False)
        await rig.queue.submit((SetFleetBrake(0, "", "ann", settings, ("enabled",)),), timeout_s=1)
        await hold(rig, 9)
        seen = made_by(rig)
        assert (seen.settings.enabled, seen.revision) == (False, 1)
