"""Which addresses handlers may connect to, in whatever form they come."""

from collections.abc import Sequence

import pytest

from garbagetruck.cluster.cleanup.handlers.addresses import (
    NETWORKS_MAX,
    AddressRefusedError,
    AllowedAddresses,
    Resolve,
    host_problem,
    read_networks,
    resolve_by_system,
)
from garbagetruck.cluster.cleanup.settings import HandlerSettingsError


def allowed(*networks: str) -> AllowedAddresses:
    return read_networks("index", networks)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.215.14", "2606:4700::1111", "2a00:1450:4001::200e"])
def test_a_public_address_is_allowed(address: str) -> None:
    assert allowed().refusal(address) is None


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("127.0.0.1", "a loopback address"),
        ("127.255.0.9", "a loopback address"),
        ("::1", "a loopback address"),
        ("10.0.0.3", "a private or reserved address"),
        ("172.31.255.1", "a private or reserved address"),
        ("192.168.1.1", "a private or reserved address"),
        ("fc00::1", "a private or reserved address"),
        ("fd12:3456::1", "a private or reserved address"),
        ("fec0::1", "not a public address"),
        ("169.254.1.1", "a link-local address"),
        ("fe80::1", "a link-local address"),
        ("fe80::1%eth0", "a link-local address"),
        ("100.64.0.1", "a carrier's shared address"),
        ("0.0.0.0", "no address of anything"),
        ("::", "no address of anything"),
        ("224.0.0.1", "a multicast address"),
        ("ff02::1", "a multicast address"),
        ("255.255.255.255", "a private or reserved address"),
        ("240.0.0.1", "a private or reserved address"),
        ("198.51.100.1", "a private or reserved address"),
        ("4000::1", "not a public address"),
        ("169.254.169.254", "hands out credentials"),
        ("169.254.170.2", "hands out credentials"),
        ("168.63.129.16", "hands out credentials"),
        ("100.100.100.200", "hands out credentials"),
        ("fd00:ec2::254", "hands out credentials"),
    ],
)
def test_an_address_that_is_not_public_is_refused_and_may_be_named(address: str, kind: str) -> None:
    refusal = allowed().refusal(address)
    assert refusal is not None
    assert kind in refusal
    assert "`allow_addresses`" in refusal
    assert allowed(address.partition("%")[0]).refusal(address) is None


@pytest.mark.parametrize(
    "address",
    [
        "::ffff:127.0.0.1",
        "::ffff:7f00:1",
        "::ffff:a9fe:a9fe",
        "::127.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a00:1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "2001:0:4136:e378:8000:63bf:80ff:fffe",
    ],
)
def test_an_ipv4_address_within_an_ipv6_one_is_judged_as_well(address: str) -> None:
    assert allowed().refusal(address) is not None
    assert allowed("127.0.0.0/8", "10.0.0.0/8").refusal(address) is not None, "the form itself is not named"
    assert allowed("::/0").refusal(address) is not None, "what is inside is not named"


@pytest.mark.parametrize("address", ["::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"])
def test_even_a_public_ipv4_address_in_another_form_has_to_be_named(address: str) -> None:
    refusal = allowed().refusal(address)
    assert refusal is not None
    assert "in another form" in refusal
    assert allowed(address).refusal(address) is None


def test_a_private_address_behind_a_translator_has_to_be_named_twice() -> None:
    assert allowed("64:ff9b::/96").refusal("64:ff9b::10.0.0.3") is not None
    assert allowed("64:ff9b::/96", "10.0.0.0/8").refusal("64:ff9b::10.0.0.3") is None


def test_where_a_cloud_hands_out_credentials_is_never_allowed_by_a_network_around_it() -> None:
    for address in ("169.254.169.254", "168.63.129.16", "fd00:ec2::254", "::ffff:169.254.169.254"):
        assert allowed("0.0.0.0/0", "::/0").refusal(address) is not None
        assert allowed(address).refusal(address) is None


def test_a_network_of_one_family_allows_nothing_of_the_other() -> None:
    assert allowed("::/0").refusal("10.0.0.1") is not None
    assert allowed("0.0.0.0/0").refusal("fc00::1") is not None


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "127.1",
        "127.0.0.1.",
        "1.2.3",
        "x.0x1",
        "a.9",
    ],
)
def test_a_number_that_some_take_for_an_address_is_no_host(host: str) -> None:
    problem = host_problem(host)
    assert problem is not None
    assert "write that address in full" in problem


@pytest.mark.parametrize(
    "host", ["", "a..b", "-a.b", "a b", "ü.example", "a/b", "a@b", "a" * 64, "127.0.0.1%eth0", "."]
)
def test_what_is_not_a_plain_name_is_no_host(host: str) -> None:
    assert host_problem(host) is not None


@pytest.mark.parametrize("host", ["localhost", "index.internal", "a_b.c", "xn--bcher-kva.example", "127.0.0.1", "::1"])
def test_names_and_addresses_in_full_are_hosts(host: str) -> None:
    assert host_problem(host) is None


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0", "internal", "", "10.0.0.0/33", "*"])
def test_what_is_no_network_is_refused_by_the_option_that_holds_it(text: str) -> None:
    with pytest.raises(HandlerSettingsError, match=r"handlers\.index\.allow_addresses: holds no network"):
        allowed(text)


def test_networks_are_bounded() -> None:
    with pytest.raises(HandlerSettingsError, match="name at most 64"):
        allowed(*[f"10.{number}.0.0/16" for number in range(NETWORKS_MAX + 1)])


# -- names ------------------------------------------------------------------------------------------------------


def names(*found: str) -> Resolve:
    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return found

    return resolve


async def test_a_name_is_judged_by_every_address_it_leads_to() -> None:
    assert await allowed().resolve("index.internal", 443, names("8.8.8.8", "8.8.8.8", "2606:4700::1")) == (
        "8.8.8.8",
        "2606:4700::1",
    )
    with pytest.raises(
        AddressRefusedError, match=r"index\.internal leads to 10\.0\.0\.3, and 10\.0\.0\.3 is a private"
    ):
        await allowed().resolve("index.internal", 443, names("8.8.8.8", "10.0.0.3"))


async def test_a_name_without_addresses_is_an_error_like_any_other_of_the_resolver() -> None:
    with pytest.raises(OSError, match="has no address"):
        await allowed().resolve("index.internal", 443, names())


async def test_an_address_is_not_looked_up() -> None:
    async def never(_host: str, _port: int) -> Sequence[str]:
        raise AssertionError

    assert await allowed("127.0.0.1").resolve("127.0.0.1", 1, never) == ("127.0.0.1",)


async def test_the_machines_resolver_knows_this_machine() -> None:
    found = await resolve_by_system("localhost", 80)
    assert set(found) & {"127.0.0.1", "::1"}
