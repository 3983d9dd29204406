"""Ingestion while its processes are killed: rounds of accepted documents and a SIGKILL, and the reckoning afterwards.

The service is `rag up` on its embedded stores, with the deterministic embedder, reranker and engine. So a round takes
seconds. Killed are the HTTP ingress, the ingestion worker, the index's owner, or the whole Ray node. After the last of
these, the service is started again on the same folder.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from rag.cli.configs import LOCAL_CONFIG
from tests.support.service import free_port
from tests.support.starting import start_process

RAG = str(Path(sys.executable).with_name("rag"))
VICTIMS = ("ingress", "ingestion", "retrieval", "node")
CHUNKS = 60
"""Of one document: with 8 in a batch, its indexing has seven places to be killed between."""
SETTLE_S = 300.0


@dataclass
class Killed:
    """One service and what it accepted: `accepted` are job id → ids of its documents, `editions` their newest ones.
    Of what was sent and never answered nobody can say whether it was accepted: `unanswered`."""

    folder: Path
    scratch: Path
    process: subprocess.Popen[bytes] | None = None
    port: int = 0
    accepted: dict[str, tuple[str, ...]] = field(default_factory=dict)
    editions: dict[str, int] = field(default_factory=dict)
    unanswered: dict[str, int] = field(default_factory=dict)

    @property
    def data_dir(self) -> Path:
        return self.folder / "var"

    def start(self) -> None:
        self.port = free_port()
        self.process = start_process(
            [
                *(RAG, "up", "--no-corpus", "--config", str(self.folder / "config.yaml")),
                *("--data-dir", str(self.data_dir), "--port", str(self.port)),
            ],
            self.folder / "up.log",
            {**os.environ, "TMPDIR": str(self.scratch)},
        )
        self.wait_ready()

    def wait_ready(self, within_s: float = 600) -> None:
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            with suppress(httpx.HTTPError, OSError), self.client(5) as client:
                if client.get("/readyz").status_code == 200:
                    return
            time.sleep(0.2)
        raise AssertionError(f"not ready within {within_s} s:\n{(self.folder / 'up.log').read_text()[-3000:]}")

    def client(self, timeout_s: float = 30) -> httpx.Client:
        key = (self.data_dir / "key").read_text().strip()
        headers = {"Authorization": f"Bearer {key}"}
        url = f"http://127.0.0.1:{self.port}"
        return httpx.Client(base_url=url, headers=headers, timeout=timeout_s, trust_env=False)

    def tree(self) -> list[psutil.Process]:
        assert self.process is not None
        with suppress(psutil.Error):
            root = psutil.Process(self.process.pid)
            return [root, *root.children(recursive=True)]
        return []

    def kill(self, victim: str) -> None:
        """SIGKILL; after the node's end the service is started again."""
        tree = self.tree()
        if victim == "node":
            for process in tree:
                with suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(tree, timeout=30)
            if self.process is not None:
                self.process.wait()
            self.start()
            return
        for process in tree:
            with suppress(psutil.Error):
                if f"ServeReplica:rag:{victim}" in " ".join(process.cmdline()):
                    os.kill(process.pid, signal.SIGKILL)

    def stop(self) -> None:
        if self.process is None:
            return
        tree = self.tree()
        self.process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(60)
        for process in tree:
            with suppress(psutil.Error):
                process.kill()
        self.process.wait()

    def hand_in(self, ids: tuple[str, ...]) -> None:
        """A job of several documents, new editions of those that are there; one of them cannot be read. Counted as
        accepted only once 202 has arrived."""
        editions = {each: self.editions.get(each, 0) + 1 for each in ids}
        files = [("files", (f"{each}.md", _text(each, edition).encode())) for each, edition in editions.items()]
        files.append(("files", ("broken.pdf", b"%PDF-1.7 nothing more")))
        try:
            with self.client() as client:
                answer = client.post("/v1/documents", files=files)
        except httpx.HTTPError:
            self.unanswered |= editions
            return
        if answer.status_code != 202:
            self.unanswered |= editions
            return
        self.accepted[answer.json()["job_id"]] = (*(f"{each}.md" for each in ids), "broken.pdf")
        self.editions |= editions

    def settle(self) -> Counter[str]:
        """Wait for every accepted job; how many documents ended in which state."""
        ended: Counter[str] = Counter()
        end = time.monotonic() + SETTLE_S
        with self.client() as client:
            for job_id, ids in self.accepted.items():
                while (view := _view(client, job_id)) is None or view["state"] in ("queued", "running"):
                    assert time.monotonic() < end, f"not settled within {SETTLE_S:g} s: {view}"
                    time.sleep(0.2)
                assert tuple(each["id"] for each in view["documents"]) == ids
                for each in view["documents"]:
                    expected = "failed" if each["id"] == "broken.pdf" else "indexed"
                    assert each["state"] == expected, each
                    assert expected == "indexed" or each["error"]["code"] == "broken_document", each
                    ended[each["state"]] += 1
        return ended

    def reckon(self) -> None:
        """Look into the files of the stopped service.

        The index holds each live version whole and once. Beside those it holds only versions that SQL hides.
        """
        with sqlite3.connect(self.data_dir / "rag.db") as database:
            live = {
                (row[0], row[1]): row[2]
                for row in database.execute("SELECT id, version, passages FROM documents WHERE version != ''")
            }
            unseen = {row[0] for row in database.execute("SELECT version FROM unseen_versions")}
            working = database.execute(
                "SELECT count(*) FROM job_documents WHERE state IN ('queued', 'parsing', 'embedding')"
            ).fetchone()[0]
        database.close()
        rows = _passages(self.data_dir / "index" / "passages.db")
        assert working == 0
        names = {document_id.removesuffix(".md") for document_id, _ in live}
        assert self.editions.keys() <= names <= self.editions.keys() | self.unanswered.keys()
        assert {key: rows[key] for key in live} == live
        assert {version for _, version in rows.keys() - live.keys()} <= unseen
        texts = _texts(self.data_dir / "index" / "passages.db")
        for document_id, version in live:
            name = document_id.removesuffix(".md")
            (edition,) = {text.rpartition("edition ")[2] for text in texts[document_id, version]}
            assert edition in (f"{known.get(name)} of it." for known in (self.editions, self.unanswered))


@contextmanager
def killed(folder: Path) -> Iterator[Killed]:
    raw = yaml.safe_load(LOCAL_CONFIG.read_text("utf-8"))
    raw["applications"][0]["args"] |= {
        "embedding": {"backend": "fake"},
        "reranking": {"backend": "fake"},
        "generation": {"engine": "fake"},
        "ingestion": {"embed_batch": 8, "lease_s": 5, "poll_s": 0.5},
    }
    for deployment in raw["applications"][0]["deployments"]:
        deployment |= {"health_check_period_s": 1, "health_check_timeout_s": 10}
    (folder / "config.yaml").write_text(yaml.safe_dump(raw))
    # What a killed process leaves in the temporary folder. Not below `folder`: Ray's sockets want a short path.
    with tempfile.TemporaryDirectory(prefix="rag-", ignore_cleanup_errors=True) as scratch:
        service = Killed(folder, Path(scratch))
        try:
            service.start()
            yield service
        finally:
            service.stop()


def kill_round(service: Killed, victim: str, number: int, chance: random.Random) -> None:
    """New documents and new editions of old ones, the kill while they are worked on, and more while it lasts."""
    service.hand_in((f"new-{number}", f"old-{number % 5}"))
    time.sleep(chance.uniform(0, 2.0))
    service.kill(victim)
    service.hand_in((f"late-{number}", f"old-{(number + 1) % 5}"))
    service.wait_ready()


def _text(name: str, edition: int) -> str:
    return "\n\n".join(f"## {name} {n}\n\nParagraph {n} of {name}, edition {edition} of it." for n in range(CHUNKS))


def _view(client: httpx.Client, job_id: str) -> dict[str, Any] | None:
    try:
        answer = client.get(f"/v1/jobs/{job_id}")
    except httpx.HTTPError:
        return None
    assert answer.status_code != 404, f"the accepted job {job_id} is lost"
    return answer.json() if answer.status_code == 200 else None


def _passages(path: Path) -> Counter[tuple[str, str]]:
    return Counter({key: len(texts) for key, texts in _texts(path).items()})


def _texts(path: Path) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    with sqlite3.connect(path) as database:
        for document_id, version, rest in database.execute("SELECT document_id, version, rest FROM passages"):
            found.setdefault((document_id, version), []).append(json.loads(rest)["text"])
        (unmatched,) = database.execute(
            "SELECT (SELECT count(*) FROM passages) - (SELECT count(*) FROM passages JOIN vectors USING (number)) "
            "+ (SELECT count(*) FROM vectors) - (SELECT count(*) FROM passages)"
        ).fetchone()
    database.close()
    assert unmatched == 0
    return found
