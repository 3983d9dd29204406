from __future__ import annotations

import socket

import pytest

from serve_app.outbound.addresses import Addresses, AddressRefused

PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.215.14", "172.32.0.1", "192.0.1.1", "2606:4700:4700::1111", "2a00:1450::1"]
OTHERS = [
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "100.127.255.254",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.254",
    "192.0.0.9",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "64:ff9b:1::7f00:1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_reached(address: str) -> None:
    assert Addresses().allow(address)


@pytest.mark.parametrize("address", OTHERS)
def test_others_may_not(address: str) -> None:
    assert not Addresses().allow(address)


def test_a_network_that_is_allowed_is_all_that_is_allowed_beside() -> None:
    addresses = Addresses(("10.1.0.0/16", "fd00::/64"))
    assert addresses.allow("10.1.2.3")
    assert addresses.allow("fd00::1")
    assert addresses.allow("1.1.1.1")
    for other in ("10.2.0.1", "127.0.0.1", "169.254.169.254", "::ffff:10.1.2.3", "fd00:0:0:1::1"):
        assert not addresses.allow(other)


def test_a_socket_is_made_for_what_may_be_reached_only() -> None:
    stream = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
    with Addresses(("127.0.0.1/32",)).socket((*stream, ("127.0.0.1", 80))) as made:
        assert made.family == socket.AF_INET
    with pytest.raises(AddressRefused, match="public"):
        Addresses().socket((*stream, ("127.0.0.1", 80)))
