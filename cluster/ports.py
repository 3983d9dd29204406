"""Ports that stay free until a process that starts later listens on them."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

_LOWEST: Final = 20_000
"""Ray's workers listen on 10,002 to 19,999."""
_KERNEL_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_ATTEMPTS: Final = 1_000


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Ports of `host` that nothing listens on, all different. Raises OSError if there are none.

    Not from the kernel's own range, where there is a choice: it gives those to every connection that is made meanwhile.
    """
    with ExitStack() as held:
        ports: list[int] = []
        for port in random.sample(candidates(), _ATTEMPTS):
            with suppress(OSError):
                held.enter_context(socket.create_server((host, port), family=family_of(host)))
                ports.append(port)
            if len(ports) == count:
                return ports
    raise OSError(f"{count} free ports were not found on {host}")


def usual_or_free(usual: int, host: str = "127.0.0.1") -> int:
    """The port `usual` of `host`, or another one where it is taken. Raises OSError if there is none."""
    return usual if is_free(host, usual) else free_ports(1, host)[0]


def is_free(host: str, port: int) -> bool:
    try:
        with socket.create_server((host, port), family=family_of(host)):
            return True
    except OSError:
        return False


def family_of(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def candidates() -> list[int]:
    """The ports to choose from."""
    every = range(_LOWEST, 65_536)
    try:
        first, last = map(int, _KERNEL_RANGE.read_text(encoding="ascii").split())
    except (OSError, ValueError):
        return [*every]
    outside = [port for port in every if not first <= port <= last]
    return outside if len(outside) >= _ATTEMPTS else [*every]
