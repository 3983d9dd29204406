from __future__ import annotations

import socket
from pathlib import Path

import pytest

from cluster import ports


@pytest.fixture(name="kernel_range")
def _kernel_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "ip_local_port_range"
    monkeypatch.setattr(ports, "_KERNEL_RANGE", path)
    return path


def test_ports_lie_outside_of_those_that_the_kernel_gives_to_connections(kernel_range: Path) -> None:
    kernel_range.write_text("32768\t60999\n")
    found = ports.free_ports(20)
    assert len(set(found)) == 20
    assert all(20_000 <= port < 32_768 or 60_999 < port < 65_536 for port in found)


@pytest.mark.parametrize("content", ["1024 65535", "not two numbers", None])
def test_without_a_choice_any_port_is_taken(kernel_range: Path, content: str | None) -> None:
    if content is not None:
        kernel_range.write_text(content)
    assert ports.candidates() == [*range(20_000, 65_536)]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0"])
def test_a_port_that_is_taken_is_passed_over(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    [taken] = ports.free_ports(1, host)
    [free] = ports.free_ports(1, host)
    with socket.create_server((host, taken), family=ports.family_of(host)):
        monkeypatch.setattr("random.sample", lambda every, count: [taken, free])
        assert ports.free_ports(1, host) == [free]
        with pytest.raises(OSError, match="2 free ports were not found"):
            ports.free_ports(2, host)
