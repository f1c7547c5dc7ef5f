"""Callers of `confirm` on the main loop, who share rounds."""

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from garbagetruck.cluster.raft.errors import NotLeader
from garbagetruck.cluster.raft.exchange import (
    Confirm,
    Confirmed,
    HandOff,
    Request,
    Transfer,
    Transferred,
)
from garbagetruck.cluster.raft.log import Confirmation, LogStatus, Role
from garbagetruck.cluster.raft.replica import Replica
from garbagetruck.cluster.raft.settings import Identity, Member
from tests.unit.raft.stage import SETTINGS

MEMBERS = [Member(f"n{i}", f"127.0.0.1:{7300 + i}") for i in (1, 2, 3)]
IDENTITY = Identity("c", "n1", "d")
LEADING = LogStatus(Role.LEADER, 4, "n1", 9, 9, 9, frozenset({"n2", "n3"}))


class IdleEngine:
    """Stands for the engine behind a replica: remembers what is asked of it."""

    dropped_proposals = 0

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._stopped = threading.Event()

    async def run(self, on_open: Callable[[], None]) -> None:
        on_open()
        while not self._stopped.is_set():  # noqa: ASYNC110  # set by another thread
            await asyncio.sleep(0.001)

    def stop(self) -> None:
        self._stopped.set()

    def submit(self, request: Request) -> None:
        self.requests.append(request)


class Silent:
    def on_restored(self, *_: object) -> None: ...
    def on_entries(self, *_: object) -> None: ...
    def on_status(self, *_: object) -> None: ...
    def on_fatal(self, error: BaseException) -> None:
        raise error


class TestTheReplicasRounds:
    @pytest.fixture
    async def leading(self) -> AsyncIterator[tuple[Replica, IdleEngine]]:
        replica = Replica(
            identity=IDENTITY,
            members=MEMBERS,
            founders=None,
            folder=Path("unused"),
            settings=SETTINGS,
            thread_factory=lambda target, name: threading.Thread(target=target, name=name, daemon=True),
            monotonic_ns=time.monotonic_ns,
            random=random.Random(1),
        )
        engine: Any = IdleEngine()
        replica._engine = engine
        await replica.start(Silent())
        replica._on_hand_off(HandOff((), 9, LEADING, ()))
        yield replica, engine
        await replica.stop()

    async def test_callers_that_come_during_a_round_share_the_next(self, leading: tuple[Replica, IdleEngine]) -> None:
        replica, engine = leading
        first = asyncio.create_task(replica.confirm())
        await asyncio.sleep(0)
        later = [asyncio.create_task(replica.confirm()) for _ in range(3)]
        await asyncio.sleep(0)
        assert engine.requests == [Confirm(1)]
        replica._on_hand_off(HandOff((), 9, None, [Confirmed(Confirmation(4, 9))]))
        assert await first == Confirmation(4, 9)
        assert not any(task.done() for task in later)
        assert engine.requests == [Confirm(1), Confirm(2)]
        replica._on_hand_off(HandOff((), 9, None, [Confirmed(Confirmation(4, 11))]))
        assert await asyncio.gather(*later) == [Confirmation(4, 11)] * 3
        assert engine.requests == [Confirm(1), Confirm(2)]

    async def test_a_caller_that_gives_up_disturbs_no_other(self, leading: tuple[Replica, IdleEngine]) -> None:
        replica, _ = leading
        one, other = (asyncio.create_task(replica.confirm()) for _ in range(2))
        await asyncio.sleep(0)
        one.cancel()
        replica._on_hand_off(HandOff((), 9, None, [Confirmed(Confirmation(4, 9))]))
        replica._on_hand_off(HandOff((), 9, None, [Confirmed(Confirmation(4, 9))]))
        assert await other == Confirmation(4, 9)
        with pytest.raises(asyncio.CancelledError):
            await one

    async def test_a_lost_leadership_fails_the_round_and_names_the_leader(
        self, leading: tuple[Replica, IdleEngine]
    ) -> None:
        replica, _ = leading
        caller = asyncio.create_task(replica.confirm())
        await asyncio.sleep(0)
        following = LogStatus(Role.FOLLOWER, 5, "n3", 9, 9, 9, frozenset())
        replica._on_hand_off(HandOff((), 9, following, [Confirmed(None)]))
        with pytest.raises(NotLeader) as raised:
            await caller
        assert raised.value.leader == "n3"

    async def test_two_who_ask_for_a_transfer_share_its_outcome(self, leading: tuple[Replica, IdleEngine]) -> None:
        replica, engine = leading
        both = [asyncio.create_task(replica.transfer_leadership("n2")) for _ in range(2)]
        await asyncio.sleep(0)
        assert engine.requests == [Transfer("n2")]
        replica._on_hand_off(HandOff((), 9, None, [Transferred(done=True)]))
        assert await asyncio.gather(*both) == [True, True]
