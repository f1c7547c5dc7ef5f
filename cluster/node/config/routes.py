"""The settings that name other ways to members than the addresses in their records.

Duty: read `MEMBER=HOST:PORT`, and write it. A member has one address in the cluster's records; a node for which it is
another, behind address translation or a proxy, says so here, for itself alone.
Must not know: who is a member; a way to nobody is harmless.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from typing_extensions import override

from garbagetruck.cluster.node.config.skips import list_of
from garbagetruck.cluster.node.config.values import Address, InvalidValueError, Kind, Name, parse_address

ROUTES_MAX = 64
_NAME = Name(meaning="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes(Kind):
    """A list of `MEMBER=HOST:PORT`; in a variable or a flag as JSON."""

    @property
    @override
    def takes(self) -> str:
        return "list"

    @property
    @override
    def bounds(self) -> str:
        return f'up to {ROUTES_MAX} of `"MEMBER=HOST:PORT"`'

    @override
    def parse(self, raw: object) -> Mapping[str, Address]:
        remedy = 'write the member\'s id and where this node reaches it, as in ["n2=10.0.0.2:7301"]'
        found: dict[str, Address] = {}
        for row in list_of(raw, ROUTES_MAX, remedy):
            member, equals, address = row.partition("=") if isinstance(row, str) else ("", "", "")
            if not equals:
                raise InvalidValueError(f"{row!r} names no way to a member", remedy)
            if member in found:
                raise InvalidValueError(f"there are two ways to {member}", remedy)
            found[_NAME.parse(member)] = parse_address(address)
        return found

    @override
    def show(self, value: object) -> str:
        return json.dumps([f"{member}={address}" for member, address in cast("Mapping[str, Address]", value).items()])
