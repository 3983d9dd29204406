"""Which network addresses requests made on somebody's behalf may reach: public ones, and those that are allowed."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Final

from aiohttp import AddrInfoType

_GLOBAL_UNICAST: Final = ip_network("2000::/3")
"""All of IPv6 that is given out. Outside lie the forms that carry an IPv4 address: mapped, translated (NAT64)."""
_NOT_PUBLIC: Final = tuple(
    map(
        ip_network,
        (
            "100.64.0.0/10",  # carriers' own
            "192.0.0.0/24",  # protocol assignments
            "192.88.99.0/24",  # relays to 6to4
            "2001::/23",  # protocol assignments, among them Teredo, which carries an IPv4 address
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4, which carries an IPv4 address
            "3fff::/20",  # documentation
        ),
    )
)
"""What Python's tables call public in some of its versions, and is not."""


class AddressRefused(OSError):
    """Raised in place of a connection: the address may not be reached."""


class Addresses:
    """Checks an address when its socket is made, which is the last moment.

    So a second answer of DNS, a redirect, or another spelling of an address does not evade the check.
    """

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks = tuple(map(ip_network, networks))

    def allow(self, address: str) -> bool:
        parsed = ipaddress.ip_address(address)
        return any(parsed in network for network in self._networks) or _public(parsed)

    def socket(self, info: AddrInfoType) -> socket.socket:
        """One to connect to the address of `getaddrinfo`'s answer. Raises AddressRefused."""
        family, kind, protocol, _, address = info
        if not self.allow(str(address[0])):
            # The address is left out: it would tell the caller how names resolve in this network.
            raise AddressRefused("its address is not a public one")
        return socket.socket(family, kind, protocol)


def _public(address: IPv4Address | IPv6Address) -> bool:
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not any(address in network for network in _NOT_PUBLIC)
        and (address.version == 4 or address in _GLOBAL_UNICAST)
    )
