"""Bulk ingestion as the dashboard shows it: a Ray Job with a name, a log and an end; and what one leaves if killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from tests.support import configurations
from tests.support.service import Running, answers, commands
from tests.support.starting import start_lock

pytestmark = pytest.mark.timeout(900)
SERVICE = configurations.extractive
PATIENCE_S = 600


@pytest.fixture
def running(shared: configurations.Extractive) -> Running:
    return shared.running


def hand_in(running: Running, collection: str, files: dict[str, bytes]) -> str:
    """The job's id."""
    with running.client() as client:
        answer = client.post(
            "/v1/documents",
            data={"collection": collection, "bulk": "true"},
            files=[("files", (name, content)) for name, content in files.items()],
        )
        return str(answer.raise_for_status().json()["job_id"])


def wait_for_job(running: Running, job_id: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    end = time.monotonic() + PATIENCE_S
    with running.client() as client:
        while not condition(view := client.get(f"/v1/jobs/{job_id}").raise_for_status().json()):
            assert time.monotonic() < end, view
            time.sleep(0.05)
    return dict(view)


def is_done(view: dict[str, Any]) -> bool:
    return view["state"] not in ("queued", "running") and view["bulk"]["state"] == "ended"


def ended_ray_job(name: str) -> Any:
    import ray
    from ray.job_submission import JobSubmissionClient

    client = JobSubmissionClient(ray.get_runtime_context().gcs_address)
    end = time.monotonic() + PATIENCE_S
    while not (status := client.get_job_status(name)).is_terminal():
        assert time.monotonic() < end, status
        time.sleep(0.1)
    return client.get_job_info(name), client.get_job_logs(name)


def drivers(name: str) -> list[psutil.Process]:
    job_id = name.removeprefix("ingest-default-")
    module = ["-m", "deployments.ingestion.bulk"]
    return [process for process, words in commands() if words[1:3] == module and job_id in words]


def kill_driver_halfway(running: Running, job_id: str, name: str) -> None:
    """Kill the driver of a Ray Job once a document is indexed. It runs for moments only, so it cannot end before."""
    end = time.monotonic() + PATIENCE_S
    while not _killed_halfway(running, job_id, name):
        assert time.monotonic() < end
        time.sleep(0.01)


def _killed_halfway(running: Running, job_id: str, name: str) -> bool:
    """One look at the driver, which stands meanwhile. Its shell may be gone before it, and Ray may start another."""
    found = list(answers(drivers(name), psutil.Process.suspend))
    if found and wait_for_job(running, job_id, lambda _: True)["counts"]["indexed"]:
        for driver, _ in found:
            driver.kill()
        return True
    for _ in answers((driver for driver, _ in found), psutil.Process.resume):
        pass
    if found:
        time.sleep(0.1)
    return False


def remove(running: Running, collection: str) -> dict[str, int]:
    """What was there of a collection, in the store and in the index."""
    with running.client() as client:
        counts: dict[str, int] = client.delete(f"/v1/collections/{collection}").raise_for_status().json()["removed"]
        return counts


ANOTHER_RAY = """
import sys
from pathlib import Path
from cluster import node

node.set_flags()
folder = Path(sys.argv[1])
with node.owned_node(folder / "token", folder):
    print("up", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def another_ray(shared: configurations.Extractive, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A second Ray cluster on this machine, the newest one."""
    folder = tmp_path_factory.mktemp("another")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [sys.executable, "-c", ANOTHER_RAY, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as other:
        assert other.stdout is not None
        with start_lock():
            assert other.stdout.readline() == "up\n"
        yield
        other.communicate(timeout=60)
    assert other.returncode == 0


@pytest.mark.usefixtures("another_ray")
def test_a_bulk_job_is_a_ray_job(running: Running) -> None:
    files = {f"note-{n}.md": f"# Note {n}\n\nThe word of this note is zq{n}x.".encode() for n in range(19)}
    job_id = hand_in(running, "notes", {**files, "broken.pdf": b"%PDF-1.7 and nothing else"})
    name = f"ingest-default-{job_id}"
    job = wait_for_job(running, job_id, is_done)
    assert job["state"] == "partial", job
    assert job["bulk"] == {"ray_job": name, "state": "ended", "detail": None}
    assert job["counts"]["indexed"] == 19
    (failed,) = [each for each in job["documents"] if each["state"] == "failed"]
    assert failed["id"] == "notes/broken.pdf"
    assert failed["error"]["code"] == "broken_document"

    info, log = ended_ray_job(name)
    assert info.status == "SUCCEEDED", log
    assert info.metadata == {"job_name": name, "tenant": "default", "job": job_id}
    for document in job["documents"]:
        assert document["id"] in log, log
    for operator in ("Parse", "Embed", "Insert"):
        assert f"MapBatches({operator})" in log

    sources = running.ask("zq7x", collections=["notes"])["sources"]
    assert sources[0]["document_id"] == "notes/note-7.md"
    assert remove(running, "notes") == {"documents": 20, "passages": 19}


def test_without_a_dashboard_the_workers_do_it_and_the_job_says_so(
    running: Running, shared: configurations.Extractive
) -> None:
    job = wait_for_job(running, shared.refused, is_done)
    assert job["state"] == "succeeded"
    assert job["bulk"]["detail"].startswith("it could not be submitted as a Ray Job: ")


def test_a_cancelled_bulk_job_is_over_within_ten_seconds(running: Running) -> None:
    files = {f"{n}.md": f"# {n}\n\nA short text, number {n}.".encode() for n in range(400)}
    job_id = hand_in(running, "cancelled", files)
    wait_for_job(running, job_id, lambda view: view["counts"]["indexed"] > 0)
    began = time.monotonic()
    with running.client() as client:
        client.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
    job = wait_for_job(running, job_id, is_done)
    assert time.monotonic() - began < 10
    assert job["state"] == "partial"
    assert job["counts"]["cancelled"] > 0
    assert job["bulk"]["detail"] == "its job was cancelled"
    assert ended_ray_job(f"ingest-default-{job_id}")[0].status == "SUCCEEDED"
    remove(running, "cancelled")


def test_what_a_killed_bulk_job_leaves_is_indexed_once(running: Running) -> None:
    files = {f"{n}.md": f"# {n}\n\nA short text, number {n}.".encode() for n in range(60)}
    job_id = hand_in(running, "killed", files)
    name = f"ingest-default-{job_id}"
    kill_driver_halfway(running, job_id, name)
    assert ended_ray_job(name)[0].status == "FAILED"
    job = wait_for_job(running, job_id, is_done)
    assert job["state"] == "succeeded", job
    # Ray says so at once; the lease would be over later, "without a word".
    assert job["bulk"]["detail"].startswith("its Ray Job ended before its run did: ")
    assert remove(running, "killed") == {"documents": 60, "passages": 60}
