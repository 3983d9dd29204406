from __future__ import annotations

import time
from pathlib import Path

import pytest

from cluster import node_start


def test_a_node_may_register_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_start, "_POLL_S", 0)
    answers = iter([None, None, {"node_manager_port": 1}])

    def get_node(gcs_address: str, node_id: str) -> object:
        if (answer := next(answers)) is None:
            raise RuntimeError(f"{node_id} is not known to {gcs_address}")
        return answer

    assert node_start._registered_node(get_node, "gcs", "n") == {"node_manager_port": 1}


def test_a_node_that_never_registers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_start, "NODE_START_S", 0)

    def get_node(gcs_address: str, node_id: str) -> object:
        raise RuntimeError(f"{node_id} is not known to {gcs_address}")

    with pytest.raises(RuntimeError, match="n is not known to gcs"):
        node_start._registered_node(get_node, "gcs", "n")


def test_a_node_that_has_ended_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def get_node(gcs_address: str, node_id: str) -> object:
        raise RuntimeError(f"{node_id} is not known to {gcs_address}")

    monkeypatch.setattr(node_start, "_raylet_has_ended", lambda: True)
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it was waited for"))
    with pytest.raises(RuntimeError, match="n is not known to gcs"):
        node_start._registered_node(get_node, "gcs", "n")


def test_each_agent_has_a_port_of_its_own_and_ray_is_left_as_it_was() -> None:
    from ray._private import parameter, services

    before = parameter.RayParams, services.start_raylet, services.get_node
    with node_start.adapted_start():
        params = parameter.RayParams(metrics_export_port=None)
        ports = [getattr(params, name) for name in node_start._AGENT_PORTS]
    assert len(set(ports)) == len(ports)
    assert all(port > 1023 for port in ports)
    assert (parameter.RayParams, services.start_raylet, services.get_node) == before


def test_a_raylet_finds_the_port_of_its_dashboard_agent(tmp_path: Path) -> None:
    def start_raylet(node_id: str, session_dir: str, *, dashboard_agent_listen_port: int) -> str:
        file = Path(session_dir, f"dashboard_agent_listen_port_{node_id}")
        assert file.read_text() == str(dashboard_agent_listen_port)
        return "started"

    node_id = "ab" * 28
    started = node_start._start_raylet(start_raylet, node_id, str(tmp_path), dashboard_agent_listen_port=5001)
    assert started == "started"


def test_the_node_s_folder_stays_its_owner_s(tmp_path: Path) -> None:
    """Here stands what Ray calls for the folder that it is given, and for each that it makes in it."""
    from ray._common import utils
    from ray._private.node import try_to_create_directory

    folder = tmp_path / "node"
    folder.mkdir(mode=0o700)
    usual = utils.try_make_directory_shared
    with node_start.adapted_start():
        for path in (folder, folder / "session"):
            try_to_create_directory(str(path))
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "session").stat().st_mode & 0o002 == 0
    assert utils.try_make_directory_shared is usual
