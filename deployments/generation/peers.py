"""Notices a peer that is gone without having closed its connection: its node failed, or the network between."""

from __future__ import annotations

import asyncio
import socket

LOST_AFTER_S = 15
"""A peer that acknowledges nothing for so long is gone. Linux alone would wait for some 15 minutes, and for ever on a
connection on which nothing is sent."""
PROBE_EVERY_S = 5
"""How often a connection is probed on which nothing is sent."""


def watch(transport: asyncio.BaseTransport) -> None:
    """Have the kernel end the connection once its peer is lost, whether something is sent to it or not.

    The connection then ends as one that the peer has reset. An option that the system does not know is left out.
    """
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", PROBE_EVERY_S),
        ("TCP_KEEPINTVL", PROBE_EVERY_S),
        ("TCP_KEEPCNT", max(1, LOST_AFTER_S // PROBE_EVERY_S - 1)),
        ("TCP_USER_TIMEOUT", LOST_AFTER_S * 1000),
    ):
        if (number := getattr(socket, option, None)) is not None:
            connection.setsockopt(socket.IPPROTO_TCP, number, value)
