"""A command under a lease, with real processes and a cluster that does what the test says."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest

from garbagetruck.cli.exits import Exit
from garbagetruck.cli.holding import Holding, Told
from garbagetruck.client import Lease, LeaseState, LeaseSummary, Lost, Truck
from garbagetruck.client.errors import (
    GarbageTruckError,
    LeaseEnded,
    ResourceBeingCleaned,
    ResourceHasOtherHolders,
    Unavailable,
)
from garbagetruck.client.lease import Deadline, Described

TTL_MS = 600


class Cluster:
    """Renews and releases one lease, or fails as told."""

    def __init__(self) -> None:
        self.renewals = 0
        self.released: list[bool] = []
        """`keep_resource` of each release."""
        self.renewal_fails: GarbageTruckError | None = None
        self.release_fails: GarbageTruckError | None = None
        self.deadline = Deadline(time.monotonic_ns, time.monotonic_ns() + TTL_MS * 1_000_000)
        record = LeaseSummary("lease-1", "default", "job", "h", 77, TTL_MS, TTL_MS, "", LeaseState.ACTIVE, "", 0, {})
        self.lease = Lease(Described(record), self.deadline, Lost(self.deadline))

    async def acquire(self) -> Lease:
        return self.lease

    async def renew(self, lease_id: str, *, timeout: float) -> float:
        assert (lease_id, timeout > 0) == ("lease-1", True)
        self.renewals += 1
        if isinstance(self.renewal_fails, LeaseEnded):
            self.lease.lost.set(self.renewal_fails.message)
        if self.renewal_fails is not None:
            raise self.renewal_fails
        self.deadline.extend(time.monotonic_ns(), TTL_MS)
        return TTL_MS / 1_000

    async def release(self, lease_id: str, *, keep_resource: bool) -> None:
        self.released.append(keep_resource)
        if self.release_fails is not None:
            raise self.release_fails


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


class Notes(list[str]):
    """What was told to the person."""

    def has(self, text: str) -> bool:
        return any(text in each for each in self)


@pytest.fixture
def notes() -> Notes:
    return Notes()


def hold(
    cluster: Cluster,
    notes: Notes,
    *argv: str,
    keep_resource: bool = False,
    kill_after_s: float = 5.0,
    acquire: Callable[[], Awaitable[Lease]] | None = None,
) -> Holding:
    return Holding(
        cast("Truck", cluster),
        acquire=acquire or cluster.acquire,
        argv=argv,
        environment={"GARBAGETRUCK_NAMESPACE": "default"},
        keep_resource=keep_resource,
        kill_after_s=kill_after_s,
        call_s_max=5.0,
        note=notes.append,
    )


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  # it is another process that makes it true
            await asyncio.sleep(0.01)


async def test_the_commands_exit_code_is_ours_and_the_lease_is_released(cluster: Cluster, notes: Notes) -> None:
    assert await hold(cluster, notes, "sh", "-c", "exit 7").run() == 7
    assert cluster.released == [False]
    assert notes == []


async def test_the_command_finds_the_lease_in_its_environment(cluster: Cluster, notes: Notes, tmp_path: Path) -> None:
    names = ("LEASE_ID", "FENCING_TOKEN", "RESOURCE", "NAMESPACE")
    script = " ".join(f"$GARBAGETRUCK_{name}" for name in names)
    assert await hold(cluster, notes, "sh", "-c", f"echo {script} > {tmp_path}/env").run() == 0
    assert (tmp_path / "env").read_text().split() == ["lease-1", "77", "job", "default"]


async def test_a_command_longer_than_the_ttl_is_held_to_its_end(cluster: Cluster, notes: Notes) -> None:
    assert await hold(cluster, notes, "sleep", "1.5").run() == 0
    assert cluster.renewals >= 2


@pytest.mark.parametrize(
    ("argv", "code"), [(("./no-such-command",), 127), (("/etc/passwd",), 126), (("sh", "-c", "kill -9 $$"), 137)]
)
async def test_what_cannot_start_or_is_killed_ends_as_in_a_shell(
    cluster: Cluster, notes: Notes, argv: tuple[str, ...], code: int
) -> None:
    assert await hold(cluster, notes, *argv).run() == code
    assert cluster.released == [False]


async def test_a_refused_acquire_never_starts_the_command(cluster: Cluster, notes: Notes, tmp_path: Path) -> None:
    async def refuse() -> Lease:
        raise ResourceBeingCleaned("its cleanup has begun")

    with pytest.raises(ResourceBeingCleaned):
        await hold(cluster, notes, "touch", str(tmp_path / "started"), acquire=refuse).run()
    assert not (tmp_path / "started").exists()
    assert cluster.released == []


async def test_a_signal_before_the_lease_is_held_keeps_the_command_from_being_started(
    cluster: Cluster, notes: Notes, tmp_path: Path
) -> None:
    async def hang() -> Lease:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(Told) as told:
        await hold(cluster, notes, "touch", str(tmp_path / "started"), acquire=hang).run()
    assert told.value.number is signal.SIGTERM
    assert not (tmp_path / "started").exists()


async def test_a_signal_together_with_the_lease_is_not_lost_between_the_two(cluster: Cluster, notes: Notes) -> None:
    async def acquire() -> Lease:
        os.kill(os.getpid(), signal.SIGTERM)
        return await cluster.acquire()

    # Whichever the loop sees first: the lease is not known to be taken, or it is given back, with the command not
    # started or ended by the signal. What may not happen is that the command runs on.
    try:
        code = await hold(cluster, notes, "sleep", "60", acquire=acquire).run()
    except Told:
        assert cluster.released == []
    else:
        assert code == 128 + signal.SIGTERM
        assert cluster.released == [False]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
async def test_signals_are_passed_on_and_the_commands_answer_is_ours(
    cluster: Cluster, notes: Notes, tmp_path: Path, number: signal.Signals
) -> None:
    script = f"trap 'exit 9' {number.name.removeprefix('SIG')}; touch {tmp_path}/up; sleep 60 & wait"
    running = asyncio.create_task(hold(cluster, notes, "bash", "-c", script).run())
    await until((tmp_path / "up").exists)
    os.kill(os.getpid(), number)
    assert await running == 9
    assert cluster.released == [False]


async def test_a_command_that_dies_of_a_signal_passed_on_is_told_as_128_more(
    cluster: Cluster, notes: Notes, tmp_path: Path
) -> None:
    running = asyncio.create_task(hold(cluster, notes, "sh", "-c", f"touch {tmp_path}/up; exec sleep 60").run())
    await until((tmp_path / "up").exists)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 128 + signal.SIGTERM


async def test_i1_a_lost_lease_ends_the_command_and_the_code_and_the_message_say_so(
    cluster: Cluster, notes: Notes, tmp_path: Path
) -> None:
    cluster.renewal_fails = LeaseEnded("lease-1 was released by somebody")
    script = f"trap 'touch {tmp_path}/told; exit 0' TERM; sleep 60 & wait"
    assert await hold(cluster, notes, "bash", "-c", script).run() == Exit.PRECONDITION
    assert (tmp_path / "told").exists()
    assert notes.has("lease-1 was released by somebody; SIGTERM, and SIGKILL after 5s")
    assert notes.has("was lost before the command ended")
    assert cluster.released == [], "there is nothing to release"


async def test_i1_the_lease_is_lost_by_the_clock_when_no_node_answers(cluster: Cluster, notes: Notes) -> None:
    cluster.renewal_fails = Unavailable("no leader")
    began_s = time.monotonic()
    assert await hold(cluster, notes, "sleep", "60").run() == Exit.PRECONDITION
    assert time.monotonic() - began_s < 30
    assert cluster.renewals >= 2
    assert notes.has("could not be renewed and ends in")


async def test_a_command_that_does_not_listen_is_killed_with_its_children(
    cluster: Cluster, notes: Notes, tmp_path: Path
) -> None:
    cluster.renewal_fails = LeaseEnded("over")
    child = f"trap '' TERM; echo $$ > {tmp_path}/child; while :; do sleep 0.1; done"
    script = f"trap '' TERM; sh -c \"{child.replace('$', chr(92) + '$')}\" & wait; wait"
    assert await hold(cluster, notes, "bash", "-c", script, kill_after_s=0.5).run() == Exit.PRECONDITION
    assert notes.has("it did not end; SIGKILL")
    pid = int((tmp_path / "child").read_text())
    await until(lambda: not _is_running(pid))


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_renewal_that_failed_for_a_while_loses_nothing(cluster: Cluster, notes: Notes) -> None:
    cluster.renewal_fails = Unavailable("no leader")

    async def acquire() -> Lease:
        asyncio.get_running_loop().call_later(0.3, setattr, cluster, "renewal_fails", None)
        return await cluster.acquire()

    assert await hold(cluster, notes, "sleep", "1", acquire=acquire).run() == 0
    assert notes.has("the lease is renewed again")


@pytest.mark.parametrize(("script", "kept"), [("exit 0", True), ("exit 3", False)])
async def test_only_success_keeps_the_resource(cluster: Cluster, notes: Notes, script: str, kept: bool) -> None:
    await hold(cluster, notes, "sh", "-c", script, keep_resource=True).run()
    assert cluster.released == [kept]


async def test_a_release_that_fails_is_a_warning_but_a_resource_that_cannot_be_kept_an_error(
    cluster: Cluster, notes: Notes
) -> None:
    cluster.release_fails = Unavailable("no leader")
    assert await hold(cluster, notes, "true").run() == 0
    assert notes.has("ends after its TTL")
    cluster.release_fails = ResourceHasOtherHolders("others hold it, too")
    assert await hold(cluster, notes, "true", keep_resource=True).run() == Exit.PRECONDITION
    assert notes.has("could not be kept and will be cleaned")


async def test_a_lease_that_turns_out_to_be_over_at_its_release_was_lost(cluster: Cluster, notes: Notes) -> None:
    cluster.release_fails = LeaseEnded("it expired")
    assert await hold(cluster, notes, "true").run() == Exit.PRECONDITION
