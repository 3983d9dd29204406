from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from cluster import node


def test_flags_lead_to_no_other_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in node._FLAGS:
        monkeypatch.setenv(name, os.environ.get(name, ""))  # so that what is set here is undone
    for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, "another's")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    node.set_flags()
    assert "RAY_ADDRESS" not in os.environ
    assert "RAY_AUTH_TOKEN" not in os.environ
    assert os.environ["RAY_AUTH_MODE"] == "token"


def test_haproxy_is_one_word_and_keeps_out_of_the_way_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*node._FLAGS, *node._FOR_LOAD, *node._PORTS, "RAY_SERVE_HAPROXY_NBTHREAD"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # so that what is set here is undone
        monkeypatch.delenv(name)
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setitem(node._PORTS, "RAY_SERVE_HAPROXY_STATS_PORT", port)
        node.set_flags()
        assert "RAY_SERVE_ENABLE_HA_PROXY" not in os.environ
        monkeypatch.setenv(node._QUARANTINE, "2000")
        node.set_flags(haproxy=True)
    assert os.environ[node._QUARANTINE] == "2000", "the operator's own"
    assert (os.environ["RAY_SERVE_ENABLE_HA_PROXY"], os.environ["RAY_SERVE_THROUGHPUT_OPTIMIZED"]) == ("1", "1")
    assert 0 < int(os.environ["RAY_SERVE_HAPROXY_STATS_PORT"]) != port
    assert int(os.environ["RAY_SERVE_HAPROXY_NBTHREAD"]) >= 1


def test_a_secret_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "var/token"
    secret = node.read_or_make_secret(path)
    assert len(secret) == 64
    assert node.read_or_make_secret(path) == secret
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["token"]


def test_a_secret_that_is_replaced_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("old")
    path.chmod(0o644)
    node.write_secret(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_secret_whose_writing_is_interrupted_leaves_no_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        node.write_secret(tmp_path / "key", "new")
    assert [*tmp_path.iterdir()] == []


KILLED = """
import os, subprocess, sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from cluster import node

root = Path(sys.argv[1])

def init(*, _temp_dir, **_):
    logs = Path(_temp_dir, "session_latest/logs")
    logs.mkdir(parents=True)
    (logs / "raylet.out").write_text("why")

sys.modules["ray"] = SimpleNamespace(init=init)
if sys.argv[2] == "full":
    def keep(*_):
        raise OSError("no space left on device")
    node.session_logs.keep = keep
node.adapted_start, node._temp_root = nullcontext, lambda: str(root / "temporary")
with node.owned_node(root / "token", root / "var"):
    child = subprocess.Popen(["sh", "-c", "sleep 600 & echo $!; wait"], stdout=subprocess.PIPE, text=True)
    print(child.pid, child.stdout.readline(), end="", flush=True)
    node.kill()
    os._exit(0)
"""


@pytest.mark.parametrize("disk", ["free", "full"])
def test_a_kill_ends_what_runs_below_removes_the_node_s_folder_and_keeps_its_logs(tmp_path: Path, disk: str) -> None:
    session = tmp_path / "var/logs/2026-01-01T00-00-00Z"
    for folder in (session, tmp_path / "temporary"):
        folder.mkdir(parents=True)
    script = [sys.executable, "-c", KILLED, str(tmp_path), disk]
    done = subprocess.run(script, capture_output=True, text=True, timeout=60, check=True)
    ended = [int(pid) for pid in done.stdout.split()]
    assert len(ended) == 2
    assert not any(psutil.pid_exists(pid) for pid in ended)
    assert [*(tmp_path / "temporary").iterdir()] == []
    assert [path.read_text() for path in session.iterdir()] == (["why"] if disk == "free" else [])


@pytest.mark.parametrize("in_use", ["/tmp", "/elsewhere"])
def test_temporary_files_of_a_node_go_where_it_is(monkeypatch: pytest.MonkeyPatch, in_use: str) -> None:
    """Unless the temporary folder is not where the node's folder is, as one with a long name is not."""
    monkeypatch.setattr("tempfile.gettempdir", lambda: in_use)
    for former in (None, "/former"):
        monkeypatch.delenv("TMPDIR", raising=False)
        if former:
            monkeypatch.setenv("TMPDIR", former)
        with node._temporary_files_in(Path("/tmp/rag-x")):
            assert os.environ.get("TMPDIR") == ("/tmp/rag-x" if in_use == "/tmp" else former)
        assert os.environ.get("TMPDIR") == former


@pytest.mark.parametrize(("configured", "used"), [("/tmp/x", "/tmp/x"), ("/" + "long" * 20, "/tmp")])
def test_rays_sockets_fit_into_the_temporary_folder(
    monkeypatch: pytest.MonkeyPatch, configured: str, used: str
) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: configured)
    assert node._temp_root() == used


def test_the_last_error_is_read_from_the_raylet_s_log(tmp_path: Path) -> None:
    node_of = node.OwnedNode(tmp_path, ())
    assert node_of.last_error() == ""
    log = tmp_path / "session_latest/logs/raylet.err"
    log.parent.mkdir(parents=True)
    log.write_text(
        "[2026-11-30 09:09:43,383 E 23322 23322] (raylet) main.cc:1108: no exporter\n"
        "[2026-11-30 09:09:57,179 C 23322 23375] (raylet) agent_manager.cc:87: The raylet exited\n"
        "    The raylet fate shares with the agent.\n"
    )
    assert node_of.last_error() == "agent_manager.cc:87: The raylet exited"
