"""The services that end-to-end tests share, each started once. A test that kills or changes one needs its own."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.service import (
    STAGES,
    Running,
    app_config,
    deployed,
    free_port,
    on_fakes,
    service,
    two_ingress_replicas,
)
from tests.support.starting import node_of_this_process

ADMISSION_SLOTS, ADMISSION_WORD_MS = 4, 50
APPEAL = {"id": "d", "title": "Appeals", "language": "en", "text": "An appeal takes 15 days from delivery."}
_SETTLED_S = 600
_EXTRACTIVE = {
    "embedding": {"backend": "fake"},
    "reranking": {"backend": "fake"},
    "generation": {"engine": "extractive"},
    # The lease is as long as by default: a busy machine may not renew a short one in time.
    # A busy machine is slow to start a Ray Job, whose supervisor and driver both import Ray first.
    "ingestion": {"poll_s": 0.5, "bulk": {"start_s": 600}},
}


@dataclass(frozen=True, slots=True)
class Extractive:
    """`refused`: the id of a bulk job that was handed in while there was no dashboard."""

    running: Running
    refused: str


@contextmanager
def extractive(folder: Path) -> Iterator[Extractive]:
    """The extractive engine, and fakes of embedding and reranking. Ray's dashboard is started after a bulk job was
    handed in without it."""
    config = app_config({"data_dir": str(folder / "var"), **_EXTRACTIVE}, free_port(), {})
    with (
        _another_rays_agent(),
        node_of_this_process() as node,
        deployed(config) as running,
        running.client() as client,
    ):
        files = [("files", ("a.md", b"Text."))]
        answer = client.post("/v1/documents", data={"collection": "refused", "bulk": "true"}, files=files)
        refused = str(answer.raise_for_status().json()["job_id"])
        end = time.monotonic() + _SETTLED_S
        while client.get(f"/v1/jobs/{refused}").raise_for_status().json()["state"] in ("queued", "running"):
            assert time.monotonic() < end
            time.sleep(0.05)
        node.start_dashboard()
        yield Extractive(running, refused)


@contextmanager
def _another_rays_agent() -> Iterator[None]:
    """Ray's usual port for the agent that starts jobs is taken, as beside another Ray on this machine."""
    with socket.socket() as taken:
        with suppress(OSError):  # it is another Ray's in truth
            taken.bind(("127.0.0.1", 52365))
            taken.listen()
        yield


@contextmanager
def admission(folder: Path) -> Iterator[Running]:
    """Two ingress replicas, which share a limiter and PostgreSQL, and an engine with few slots."""
    with two_ingress_replicas(folder, **on_fakes(ADMISSION_SLOTS, ADMISSION_WORD_MS)) as running:
        yield running


@contextmanager
def recovering(folder: Path) -> Iterator[Running]:
    """Real models, the embedded index and SQLite; generation is the fake at 40 ms a word, so that streams stay open."""
    args = {"generation": {"engine": "fake", "fake_delay_ms": 40}}
    health = {"health_check_period_s": 1, "health_check_timeout_s": 10}
    with service(folder, args, **dict.fromkeys(STAGES, health)) as running:
        assert [document["state"] for document in running.ingest([APPEAL])] == ["indexed"]
        yield running
