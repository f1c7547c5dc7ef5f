"""Handlers by name: made from settings, completed for the door, started and stopped together."""

import importlib.metadata
from collections.abc import Mapping
from importlib.metadata import EntryPoint, EntryPoints
from typing import ClassVar

import pytest
from typing_extensions import override

from garbagetruck.cluster.cleanup.handler import Handler, InvalidParametersError
from garbagetruck.cluster.cleanup.registry import (
    ENTRY_POINT_GROUP,
    HandlerFactory,
    HandlerFaultError,
    HandlerRegistry,
    Registered,
    UnknownHandlerError,
    build_registry,
    installed_factory,
)
from garbagetruck.cluster.cleanup.running import run_directly
from garbagetruck.cluster.cleanup.settings import ExecutorSettings, HandlerSettings, HandlerSettingsError
from garbagetruck.cluster.machine.model import CleanupSpec
from tests.unit.cleanup.fakes import ProbeHandler


def settings(name: str = "probe", kind: str = "probe", **options: object) -> HandlerSettings:
    return HandlerSettings(name=name, kind=kind, options=options)


def build(*handlers: HandlerSettings, factory: HandlerFactory | None = None) -> HandlerRegistry:
    return build_registry(handlers, run_blocking=run_directly, environ={}, find_factory=lambda _kind: factory)


def make_probe(_options: Mapping[str, object], name: str) -> Handler:
    return ProbeHandler(name)


def test_a_cleanup_is_completed_with_its_target_and_sorted_parameters() -> None:
    registry = build(settings(), factory=make_probe)
    spec = registry.complete("probe", {"name": "x", "also": "y"})
    assert spec == CleanupSpec("probe", (("also", "y"), ("name", "x")), "probe:/x")


def test_an_unknown_name_is_refused_and_the_known_ones_are_told() -> None:
    registry = build(settings("one"), settings("two"), factory=make_probe)
    with pytest.raises(UnknownHandlerError, match="registered are one, two") as caught:
        registry.complete("three", {})
    assert (caught.value.handler, caught.value.known) == ("three", ("one", "two"))
    assert registry.find("three") is None


def test_bad_parameters_are_the_clients_fault() -> None:
    with pytest.raises(InvalidParametersError):
        build(settings(), factory=make_probe).complete("probe", {})


class CrookedHandler(ProbeHandler):
    """Gives whatever target it was told to."""

    target: ClassVar[str] = ""

    @override
    def canonical_target(self, parameters: Mapping[str, str]) -> str:
        if not self.target:
            raise RuntimeError("boom")
        return self.target


@pytest.mark.parametrize(
    "target", ["", "x", "probe:x", "file:/x", "probe:/", "probe://x", "probe:/a/../b", "probe:/a/"]
)
def test_a_target_that_is_not_canonical_is_the_handlers_fault(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CrookedHandler, "target", target)
    registry = build(settings(), factory=lambda _options, name: CrookedHandler(name))
    with pytest.raises(HandlerFaultError, match="broke its contract"):
        registry.complete("probe", {"name": "x"})


@pytest.mark.parametrize("target", ["probe:/" + "a" * 5_000, "probe:/" + "/".join("a" * 200)])
def test_a_target_that_is_too_long_is_the_clients_fault(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CrookedHandler, "target", target)
    registry = build(settings(), factory=lambda _options, name: CrookedHandler(name))
    with pytest.raises(InvalidParametersError, match="too long"):
        registry.complete("probe", {"name": "x"})


# -- settings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (settings("f", "file"), "handlers.f: .*roots"),
        (settings("f", "file", roots="/srv"), "handlers.f.roots: "),
        (settings("f", "file", roots=[]), "handlers.f.roots: has 0 entries"),
        (settings("f", "file", roots=["srv"]), "handlers.f.roots: 'srv' is not an absolute folder"),
        (settings("f", "file", roots=["/"]), "is not an absolute folder below /"),
        (settings("f", "file", roots=["/a/../b"]), "without `..`"),
        (settings("f", "file", roots=["/a/x", "/b/x"]), "two roots are called 'x'"),
        (settings("f", "file", roots=["/a/x", "/a/x/y"]), "lies within"),
        (settings("f", "file", roots=["/a"], directory=True), "handlers.f.*unknown field `directory`"),
        (settings("f", "file", roots=["/a"], directories="yes"), "handlers.f.directories: "),
        (settings("p", "none"), "handlers.p.kind: 'none' is not known; use one of file, grpc, http, s3, sql"),
    ],
)
def test_settings_that_are_wrong_say_what_is_right(given: HandlerSettings, expected: str) -> None:
    with pytest.raises(HandlerSettingsError, match=expected) as caught:
        build(given)
    assert caught.value.remedy


def test_roots_of_two_handlers_may_be_the_same_but_not_nested() -> None:
    build(settings("a", "file", roots=["/srv/x"]), settings("b", "file", roots=["/srv/x/"], directories=True))
    with pytest.raises(HandlerSettingsError, match=r"/srv/x/y \(handlers.b\) lies within /srv/x \(handlers.a\)"):
        build(settings("a", "file", roots=["/srv/x"]), settings("b", "file", roots=["/srv/x/y"]))


def test_bounds_of_a_handler_are_checked() -> None:
    with pytest.raises(HandlerSettingsError, match="slots"):
        HandlerSettings(name="a", kind="file", options={}, slots_max=0)
    with pytest.raises(HandlerSettingsError, match="attempt_timeout"):
        HandlerSettings(name="a", kind="file", options={}, attempt_timeout_ms=1)


def test_bounds_of_the_executor_are_checked() -> None:
    with pytest.raises(ValueError, match="slots_max is 0"):
        ExecutorSettings(slots_max=0)
    with pytest.raises(ValueError, match="attempt_timeout_ms is 1"):
        ExecutorSettings(attempt_timeout_ms=1)


def test_a_third_partys_error_names_the_handler() -> None:
    def refuse(_options: Mapping[str, object], _name: str) -> Handler:
        raise ValueError("bucket: is missing; name one")

    with pytest.raises(HandlerSettingsError, match=r"handlers\.probe: it could not be made: bucket: is missing"):
        build(settings(), factory=refuse)


def test_what_is_no_handler_is_refused() -> None:
    with pytest.raises(HandlerSettingsError, match="made object, which is no Handler"):
        build(settings(), factory=lambda _options, _name: object())  # type: ignore[arg-type, return-value]


def test_a_handlers_problems_with_the_world_are_told_with_its_name() -> None:
    handler = ProbeHandler()
    handler.problems = ("the folder is away",)
    registry = HandlerRegistry([Registered(settings(), handler)])
    assert registry.check() == [("probe", "the folder is away")]


def test_a_check_that_raises_is_told_as_a_problem_and_keeps_no_other_from_being_checked() -> None:
    class Broken(ProbeHandler):
        @override
        def check(self) -> tuple[str, ...]:
            raise RuntimeError("boom")

    other = ProbeHandler()
    other.problems = ("the folder is away",)
    registry = HandlerRegistry([Registered(settings("a"), Broken()), Registered(settings("b"), other)])
    assert registry.check() == [("a", "its own check raised RuntimeError('boom')"), ("b", "the folder is away")]


# -- entry points -----------------------------------------------------------------------------------------------


def offer(monkeypatch: pytest.MonkeyPatch, *values: str) -> None:
    found = EntryPoints(EntryPoint("probe", value, ENTRY_POINT_GROUP) for value in values)
    monkeypatch.setattr(importlib.metadata, "entry_points", found.select)


def test_a_kind_is_found_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, f"{__name__}:make_probe")
    registry = build_registry([settings()], run_blocking=run_directly, environ={})
    assert registry.complete("probe", {"name": "x"}).target == "probe:/x"


def test_a_kind_that_nobody_offers_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch)
    assert installed_factory("probe") is None


def test_a_kind_that_two_offer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, f"{__name__}:make_probe", f"{__name__}:build")
    with pytest.raises(HandlerSettingsError, match="several installed distributions offer"):
        build_registry([settings()], run_blocking=run_directly, environ={})


def test_a_plug_in_that_cannot_be_imported_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, "no_such_module_anywhere:make")
    with pytest.raises(HandlerSettingsError, match="no_such_module_anywhere"):
        build_registry([settings()], run_blocking=run_directly, environ={})


# -- starting and stopping --------------------------------------------------------------------------------------


class NotingHandler(ProbeHandler):
    """Notes when it is started and stopped, in a list that it shares."""

    def __init__(self, name: str, notes: list[str], failing: str = "") -> None:
        super().__init__(name)
        self._notes = notes
        self._failing = failing

    @override
    async def start(self) -> None:
        self._notes.append(f"start {self.name}")
        if self._failing == "start":
            raise OSError("no disk")

    @override
    async def stop(self) -> None:
        self._notes.append(f"stop {self.name}")
        if self._failing == "stop":
            raise OSError("no disk")


def noting(notes: list[str], **failing: str) -> HandlerRegistry:
    return HandlerRegistry(
        [Registered(settings(name), NotingHandler(name, notes, failing.get(name, ""))) for name in ("a", "b", "c")]
    )


async def test_handlers_are_stopped_in_the_reverse_order_and_once() -> None:
    notes: list[str] = []
    registry = noting(notes)
    await registry.start()
    await registry.stop()
    await registry.stop()
    assert notes == ["start a", "start b", "start c", "stop c", "stop b", "stop a"]


async def test_a_handler_that_does_not_start_stops_those_that_did() -> None:
    notes: list[str] = []
    with pytest.raises(OSError, match="no disk"):
        await noting(notes, b="start").start()
    assert notes == ["start a", "start b", "stop a"]


async def test_a_handler_that_does_not_stop_keeps_no_other_from_it() -> None:
    notes: list[str] = []
    registry = noting(notes, b="stop")
    await registry.start()
    await registry.stop()
    assert notes[3:] == ["stop c", "stop b", "stop a"]
