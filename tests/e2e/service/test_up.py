"""`rag up` as a person uses it: started, asked, interrupted, started again; and nothing of it left."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from pathlib import Path

import grpc  # type: ignore[import-untyped]
import httpx
import psutil
import pytest
import yaml

from serve_app.config.file import load
from tests.support.service import answers, on_fakes
from tests.support.up import RAG, Up, interrupt, up

pytestmark = pytest.mark.timeout(900)
SCRAPED_S = 180
"""Prometheus asks every 15 s."""
LOCAL = Path(__file__).parents[3] / "cluster/local.yaml"


def test_start_ask_stop_and_start_again(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        raw = load(LOCAL).raw
        raw["http_options"]["port"] = port
        config = tmp_path / "config.yaml"
        config.write_text(yaml.safe_dump(raw))
        with up(tmp_path, "--config", str(config), "--prometheus") as running:
            running.wait_for(tmp_path / "var/service.json")
            assert f"Port {port} is in use" in running.text()
            service = json.loads((tmp_path / "var/service.json").read_text())
            ray_folder = Path(service["ray_folder"])
            assert ray_folder.is_dir()
            assert temporary_folders(running, "ServeReplica") == [str(ray_folder)] * 6

            answer = running.rag("ask", "Koliko dugo se čuvaju dokumenti?")
            assert "[1]" in answer
            assert "cuvanje-i-brisanje.md" in answer
            assert "yes" in running.rag("status")

            key = (tmp_path / "var/key").read_text()
            running.wait_for_text("Ctrl-C stops everything.")
            screen = running.text()
            assert all(part in screen for part in (service["url"], key, "rag ask", "rag ingest", "extractive"))

            assert {*temporary_folders(running, "dashboard/dashboard.py")} == {str(ray_folder)}
            dashboard = next(line.split()[-1] for line in screen.splitlines() if line.startswith("Ray dashboard"))
            assert httpx.get(f"{dashboard}/api/version", trust_env=False).status_code == 401
            token = (tmp_path / "var/ray_token").read_text()
            headers = {"Authorization": f"Bearer {token}"}
            assert httpx.get(f"{dashboard}/api/version", headers=headers, trust_env=False).status_code == 200
            for port in ports_open_to_others(running):
                assert refuses_without_token(port)

            [stage] = [line for line in screen.splitlines() if "✓ Prometheus" in line]
            prometheus = next(word for word in stage.split() if word.startswith("http"))
            until_both_are_scraped(prometheus)

            second = subprocess.run([RAG, "up", "--data-dir", str(running.data_dir)], capture_output=True, text=True)
            assert second.returncode == 1
            assert f"is in use by a service that runs at {service['url']}" in second.stderr

            assert interrupt(running) == 0, running.text()
    assert not ray_folder.exists()
    assert not (tmp_path / "var/service.json").exists()
    [session] = (tmp_path / "var/logs").iterdir()
    assert (session / "raylet.out").stat().st_size
    assert list(session.glob("serve/replica_*ingress*")), "the logs of this service's own stages"
    assert all(path.stat().st_size for path in session.rglob("*") if path.is_file())

    with up(tmp_path, "--no-corpus") as again:
        again.wait_for(tmp_path / "var/service.json")
        assert (tmp_path / "var/key").read_text() == key
        assert "cuvanje-i-brisanje.md" in again.rag("ask", "Koliko dugo se čuvaju dokumenti?")
        again.process.terminate()
        assert again.process.wait(60) == 0


def until_both_are_scraped(prometheus: str) -> None:
    """The service, and Ray's own exporter."""
    end = time.monotonic() + SCRAPED_S
    while True:
        answer = httpx.get(f"{prometheus}/api/v1/targets", trust_env=False).raise_for_status().json()
        targets = {each["labels"]["job"]: each["health"] for each in answer["data"]["activeTargets"]}
        if targets == {"rag": "up", "ray": "up"}:
            return
        assert time.monotonic() < end, answer
        time.sleep(0.5)


def temporary_folders(running: Up, command: str) -> list[str]:
    """Of the processes with such a command. What they leave there when they are killed goes with the node."""
    everyone = psutil.Process(running.process.pid).children(recursive=True)
    found = answers(everyone, lambda each: (" ".join(each.cmdline()), each.environ()))
    return [environment["TMPDIR"] for _, (line, environment) in found if command in line]


def ports_open_to_others(running: Up) -> list[int]:
    """Ports beyond loopback. Serve gives each replica one, for calls between deployments, and it cannot be moved."""
    root = psutil.Process(running.process.pid)
    everyone = [root, *root.children(recursive=True)]
    found = {
        name: connection.laddr.port
        for _, (name, connections) in answers(everyone, lambda each: (each.name(), each.net_connections("inet")))
        for connection in connections
        if connection.status == psutil.CONN_LISTEN
        and connection.laddr.ip.removeprefix("::ffff:") not in ("127.0.0.1", "::1")
    }
    assert all(name.startswith("ray::ServeReplica") for name in found), found
    return list(found.values())


def refuses_without_token(port: int) -> bool:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            channel.unary_unary("/ray.serve.ASGIService/HandleRequest")(b"", timeout=10)
        except grpc.RpcError as error:
            return bool(error.code() == grpc.StatusCode.UNAUTHENTICATED)
    return False


def test_a_stage_that_cannot_start_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    model = tmp_path / "no-model"
    model.mkdir()
    raw = load(LOCAL).raw
    raw["applications"][0]["args"] |= on_fakes(slots=4, word_ms=0) | {"embedding": {"model": str(model)}}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(raw))
    # Serve tries a constructor three times, a longer pause before each. Here once is enough.
    with up(tmp_path, "--config", str(config), RAY_SERVE_MAX_PER_REPLICA_RETRY_COUNT="1") as running:
        assert running.process.wait(300) == 1
        assert "the deployments failed to start" in running.text()
        assert "no-model" in running.text()
    assert not (tmp_path / "var/service.json").exists()
    assert not (tmp_path / "var/models.json").exists()


def test_ctrl_c_during_the_start(tmp_path: Path) -> None:
    with up(tmp_path, until="Models") as running:
        running.wait_for(tmp_path / "var/key")  # the Ray node is starting
        time.sleep(1)  # any moment of the start will do
        assert interrupt(running) == 130, running.text()
    assert not (tmp_path / "var/service.json").exists()


def test_a_node_that_ends_during_the_start_ends_it(tmp_path: Path) -> None:
    with up(tmp_path, "--no-corpus") as running:
        [raylet] = [each for each in psutil.Process(running.process.pid).children() if each.name() == "raylet"]
        raylet.kill()
        assert running.process.wait(300) == 1, running.text()
        assert "the Ray node has ended by itself" in running.text()
    assert not (tmp_path / "var/service.json").exists()
