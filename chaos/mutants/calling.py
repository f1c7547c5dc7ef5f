"""Mutants of handlers that call services, of plug-ins, and of handlers' limits (I1, I4, I8)."""

import ipaddress
from collections.abc import Sequence
from typing import Any

import aiohttp

from garbagetruck.chaos.mutants.mutant import by_test, mutant
from garbagetruck.chaos.mutants.patch import Patch
from garbagetruck.cluster.cleanup import attempt, registry
from garbagetruck.cluster.cleanup.ending import Ending
from garbagetruck.cluster.cleanup.handler import Handler
from garbagetruck.cluster.cleanup.handlers import addresses, http
from garbagetruck.cluster.cleanup.handlers.addresses import AllowedAddresses
from garbagetruck.cluster.cleanup.handlers.http_options import BaseBook
from garbagetruck.cluster.cleanup.handlers.http_signature import signed_headers
from garbagetruck.cluster.cleanup.own_loop import MakeThread
from garbagetruck.cluster.cleanup.rates import Rates


@mutant(
    guard="handlers that call: addresses are judged",
    breaks="I1",
    catcher=by_test(
        "integration/cleanup/test_http_borders.py::test_a_name_that_leads_inside_is_not_connected_to",
        "integration/cleanup/test_grpc_borders.py::test_a_name_that_leads_inside_is_not_connected_to",
    ),
)
def any_address_may_be_called(patch: Patch) -> None:
    """A name that leads inside the network, or to where a cloud hands out credentials, is called."""
    patch.setattr(AllowedAddresses, "refusal", lambda self, text: None)


@mutant(
    guard="handlers that call: every address of a name is judged",
    breaks="I1",
    catcher=by_test("unit/cleanup/test_addresses.py::test_a_name_is_judged_by_every_address_it_leads_to"),
)
def the_first_address_stands_for_all(patch: Patch) -> None:
    """A name with one public address smuggles the others past."""
    original = AllowedAddresses.judged

    def judged(self: AllowedAddresses, host: str, found: Sequence[str]) -> tuple[str, ...]:
        original(self, host, found[:1])
        return tuple(found)

    patch.setattr(AllowedAddresses, "judged", judged)


@mutant(
    guard="handlers that call: an IPv4 address within an IPv6 one is judged",
    breaks="I1",
    catcher=by_test("unit/cleanup/test_addresses.py::test_an_ipv4_address_within_an_ipv6_one_is_judged_as_well"),
)
def what_is_within_an_address_is_not_looked_at(patch: Patch) -> None:
    """An inner address in another form is called."""

    def embedded(_address: addresses.Address) -> ipaddress.IPv4Address | None:
        return None

    patch.setattr(addresses, "_embedded", embedded)


@mutant(
    guard="http handler: no redirect is followed",
    breaks="I1",
    catcher=by_test("integration/cleanup/test_http_borders.py::test_a_redirect_inside_is_not_followed"),
)
def redirects_are_followed(patch: Patch) -> None:
    """A service sends the cluster where the operator did not."""
    original = aiohttp.ClientSession.request

    def request(self: aiohttp.ClientSession, method: str, url: str, **options: Any) -> Any:
        return original(self, method, url, **{**options, "allow_redirects": True})

    patch.setattr(aiohttp.ClientSession, "request", request)


@mutant(
    guard="http handler: one thing has one target",
    breaks="I1",
    catcher=by_test(
        "integration/cleanup/test_http_borders.py::test_i1_two_handlers_that_reach_the_same_paths_are_refused"
    ),
)
def handlers_may_reach_the_same_paths(patch: Patch) -> None:
    """Two resources own the same thing under two targets; the end of one deletes what the other uses."""
    patch.setattr(BaseBook, "enter", lambda self, handler, options: None)


@mutant(
    guard="http handler: a request is bound to its token",
    breaks="I5",
    catcher=by_test("integration/cleanup/test_http_signature.py::test_the_shown_function_accepts_what_is_sent"),
)
def a_request_is_signed_without_its_headers(patch: Patch) -> None:
    """What a service decides by is not what was signed."""

    def signed(secret: str, **parts: Any) -> dict[str, str]:
        bare = dict.fromkeys(parts["headers"], "")
        return {**signed_headers(secret, **{**parts, "headers": bare}), **parts["headers"]}

    patch.setattr(http, "signed_headers", signed)


@mutant(
    guard="plug-ins: a loop of their own",
    breaks="I4",
    catcher=by_test("integration/cleanup/test_own_loop.py::test_only_plug_ins_get_a_loop_of_their_own"),
)
def plug_ins_run_on_the_nodes_loop(patch: Patch) -> None:
    """A plug-in that blocks stops the node."""

    def on_own_loop(inner: Handler, _name: str, _make_thread: MakeThread) -> Handler:
        return inner

    patch.setattr(registry, "on_own_loop", on_own_loop)


@mutant(
    guard="executor: a handler's rate",
    breaks="I4",
    catcher=by_test(
        "unit/cleanup/test_rates.py::test_the_executor_begins_no_more_than_the_rate_allows_and_nobody_else_waits"
    ),
)
def a_rate_is_no_bound(patch: Patch) -> None:
    """A service is asked faster than its operator allows."""
    patch.setattr(Rates, "_wait_ns", lambda self, handler, now_ns: 0)


@mutant(
    guard="attempt: a handler's last attempt",
    breaks="I4",
    catcher=by_test(
        "unit/cleanup/test_executor_endings.py::test_i4_the_last_attempt_that_a_handler_is_given_fails_for_good"
    ),
)
def no_attempt_is_the_last(patch: Patch) -> None:
    """A cleanup is tried on past its handler's limit, and is not shown as a dead letter."""

    def as_last(ending: Ending, _attempts_max: int) -> Ending:
        return ending

    patch.setattr(attempt, "as_last", as_last)
