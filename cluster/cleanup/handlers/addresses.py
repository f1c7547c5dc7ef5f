"""Where a handler that calls a service may connect to: to public addresses, and to what the operator named besides.

Duty: read a host, judge an address, and resolve a name to addresses that were judged.
Invariants: what is connected to is what was judged here, never a second answer of the resolver; one refused address
among several refuses the name; an IPv4 address inside an IPv6 one is judged as well; an address from which a cloud hands
out credentials is reached only where it is named by itself, never through a network around it.
Must not know: connections, what is called.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Sequence

from garbagetruck.cluster.cleanup.settings import HandlerSettingsError

NETWORKS_MAX = 64
RESOLVED_MAX = 16
"""Of the addresses of one name, so many are tried."""
RESOLVED_FOR_S = 10
"""How long an answer of the resolver is used, judged as it is: many attempts begin together."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Names to addresses, as text. Raises `OSError`."""

_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254",  # most clouds
        "169.254.170.2",  # containers at Amazon
        "169.254.170.23",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",  # Google
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure, and public to look at
        "192.0.0.192",  # Oracle
    )
)
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
_NAT64_LOCAL = ipaddress.IPv6Network("64:ff9b:1::/48")  # RFC 8215
_COMPATIBLE = ipaddress.IPv6Network("::/96")  # RFC 4291 section 2.5.5.1, out of use
_FORMER = ipaddress.ip_network("::/127")  # unspecified and loopback, which merely look compatible
_SHARED = ipaddress.IPv4Network("100.64.0.0/10")  # RFC 6598
_NAME = re.compile(
    r"(?=.{1,253}\Z)(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.?"
)
_NUMBER = re.compile(r"(?:[0-9]+|0[xX][0-9A-Fa-f]*)")


class AddressRefusedError(Exception):
    """A name leads where the handler must not connect to. `str()` names the option that would allow it."""


class AllowedAddresses:
    """What one handler may connect to. Any thread."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = tuple(networks)

    def refusal(self, text: str) -> str | None:
        """Why this address must not be connected to, or None. `text` is an address as a resolver gives it."""
        address = ipaddress.ip_address(text.partition("%")[0])  # judged alike on every interface
        kind = self._refused_kind(address)
        return None if kind is None else f"{address} is {kind}; name it in `allow_addresses` if that is meant"

    def check_literal(self, host: str) -> str | None:
        """The same for a host that is an address; a name is judged when it is resolved: None."""
        return self.refusal(host) if _is_address(host) else None

    async def resolve(self, host: str, port: int, by: Resolve) -> tuple[str, ...]:
        """Addresses of `host`, each of which may be connected to. Raises `AddressRefusedError`, `OSError`."""
        found = (host,) if _is_address(host) else tuple(dict.fromkeys(await by(host, port)))[:RESOLVED_MAX]
        return self.judged(host, found)

    def judged(self, host: str, found: Sequence[str]) -> tuple[str, ...]:
        """`found` if there are any and all may be connected to. Raises `AddressRefusedError`, `OSError`."""
        if not found:
            message = f"{host} has no address"
            raise OSError(message)
        for text in found:
            reason = self.refusal(text)
            if reason is not None:
                named = reason if text == host else f"{host} leads to {text}, and {reason}"
                raise AddressRefusedError(named)
        return tuple(found)

    def _refused_kind(self, address: Address) -> str | None:
        inner = _embedded(address)
        if address in _METADATA or inner in _METADATA:
            alone = any(each.num_addresses == 1 and address in each for each in self._networks)
            return None if alone else "an address from which a cloud hands out credentials"
        named = any(address.version == each.version and address in each for each in self._networks)
        if inner is not None:
            kind = self._refused_kind(inner)
            if kind is not None:
                return f"the IPv4 address {inner} in another form, which is {kind}"
            return None if named else f"the IPv4 address {inner} in another form"
        return None if named else _kind(address)


def _kind(address: Address) -> str | None:
    """What speaks against an address, or None for a public one."""
    kinds = (
        (address.is_loopback, "a loopback address"),
        (address.is_link_local, "a link-local address"),
        (address.is_multicast, "a multicast address"),
        (address.is_unspecified, "no address of anything"),
        (address in _SHARED if address.version == 4 else False, "a carrier's shared address"),  # noqa: PLR2004 - IPv4
        (address.is_private, "a private or reserved address"),
        (not address.is_global, "not a public address"),
        (address.version == 6 and address not in _GLOBAL_UNICAST, "not a public address"),  # noqa: PLR2004 - IPv6
    )
    return next((kind for holds, kind in kinds if holds), None)


def _embedded(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that this IPv6 address stands for, wherever one is hidden in it."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64 or address in _NAT64_LOCAL or (address in _COMPATIBLE and address not in _FORMER):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return None


def read_networks(handler: str, given: Sequence[str]) -> AllowedAddresses:
    """Read `allow_addresses`. Raises `HandlerSettingsError`."""
    option, remedy = "allow_addresses", "write addresses and networks, as in 10.1.0.0/16, 127.0.0.1 or fd00:1::/64"
    if len(given) > NETWORKS_MAX:
        raise HandlerSettingsError(handler, option, f"has {len(given)} entries", f"name at most {NETWORKS_MAX}")
    networks: list[Network] = []
    for text in given:
        try:
            networks.append(ipaddress.ip_network(text))
        except ValueError as error:
            raise HandlerSettingsError(handler, option, f"holds no network: {error}", remedy) from None
    return AllowedAddresses(networks)


def host_problem(host: str) -> str | None:
    """What is wrong with a host as the operator wrote it, without its brackets; None for a plain name or address.

    `2130706433`, `0x7f.1` and `0177.0.0.1` are names to some readers and 127.0.0.1 to others: they are neither here.
    """
    if _is_address(host):
        return None
    if _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        return "is a number that resolvers take for an address; write that address in full, as in 192.0.2.7"
    return None if _NAME.fullmatch(host) else "is not a plain host name"


def plain_host(host: str) -> str:
    """The one form of a host that has no problem, for comparing."""
    return str(ipaddress.ip_address(host)) if _is_address(host) else host.lower().rstrip(".")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def resolve_by_system(host: str, port: int) -> Sequence[str]:
    """Ask the machine's resolver, in a thread of the loop's own."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [_address_of(each[4]) for each in found]


def resolve_blocking(host: str, port: int) -> Sequence[str]:
    """Ask the machine's resolver, in this thread."""
    return [_address_of(each[4]) for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _address_of(place: Sequence[object]) -> str:
    return str(place[0])
