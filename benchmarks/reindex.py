"""A tenant's index is made again for another embedder and smaller chunks while two questions a second are asked.

The service is stopped after ingestion and started on the same folder with the other embedder, as after an upgrade. In
the old index an article is one passage, in the new one it is two: an answer with passages of both kinds is a mixed one.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from benchmarks.service import Service, rag, report, running
from rag.cli.configs import LOCAL_CONFIG

ARTICLES = 20
"""Of a document: its passages in the old index."""
WORDS = 150
"""Of an article: more than a chunk of the new index takes, and fewer than two."""
OLD_TOKENS, NEW_TOKENS = 220, 100
VOCABULARY = (
    "rok",
    "žalba",
    "rješenje",
    "zahtjev",
    "stranka",
    "tijelo",
    "postupak",
    "dokaz",
    "ugovor",
    "najam",
    "porez",
)


@dataclass
class Asked:
    """`kinds`: answers by the kinds of passages that they had. `seconds`: how long each took."""

    failed: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    degraded: int = 0
    seconds: list[float] = field(default_factory=list)

    def take(self, answer: httpx.Response, seconds: float) -> None:
        if answer.status_code != 200:
            self.failed.append(f"{answer.status_code} {answer.text[:200]}")
            return
        told = answer.json()
        self.kinds["+".join(sorted({kind(source["text"]) for source in told["sources"]})) or "none"] += 1
        self.degraded += "index" in told["degraded"]
        self.seconds.append(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passages", type=int, default=20_000, help="of the old index")
    parser.add_argument("--questions-per-s", type=float, default=2.0)
    parser.add_argument("--bulk", action="store_true", help="reindex in a Ray Job")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rag-bench-reindex-") as name:
        folder = Path(name)
        write_documents(folder / "documents", arguments.passages // ARTICLES)
        with running("--no-corpus", "--config", config(folder, "old", OLD_TOKENS), data_dir=folder / "var") as service:
            service.wait_ready()
            rag(service, "ingest", str(folder / "documents"))
        with running("--no-corpus", "--config", config(folder, "new", NEW_TOKENS), data_dir=folder / "var") as service:
            service.wait_ready()
            before = state(service)
            with asking(service, arguments.questions_per_s) as during:
                began = time.monotonic()
                rag(service, "reindex", *(["--bulk"] if arguments.bulk else []))
                took = time.monotonic() - began
            with asking(service, arguments.questions_per_s) as afterwards:
                time.sleep(5)
            after = state(service)
    for problem in during.failed[:5] + afterwards.failed[:5]:
        print(problem, flush=True)
    print(f"answers during: {dict(during.kinds)}, after: {dict(afterwards.kinds)}", flush=True)
    report(
        {
            "documents": before["documents"],
            "behind_before": before["behind"],
            "behind_after": after["behind"],
            "passages_before": before["passages"],
            "passages_after": after["passages"],
            "minutes": round(took / 60, 2),
            "questions": during.kinds.total() + afterwards.kinds.total(),
            "by_terms_alone": during.degraded,
            "query_ms_p50": round(1000 * statistics.median(during.seconds)) if during.seconds else None,
            "failed": len(during.failed) + len(afterwards.failed) + during.kinds["none"] + afterwards.kinds["none"],
            "mixed": during.kinds["new+old"] + afterwards.kinds["new+old"] + afterwards.kinds["old"],
        }
    )


def write_documents(folder: Path, number: int) -> None:
    folder.mkdir()
    words = random.Random(1)
    for document in range(number):
        articles = [article(document, position, words) for position in range(1, ARTICLES + 1)]
        (folder / f"zakon-{document}.md").write_text("\n\n".join([f"# Zakon {document}", *articles]), encoding="utf-8")


def article(document: int, position: int, words: random.Random) -> str:
    text = " ".join(words.choices(VOCABULARY, k=WORDS))
    return f"## Članak {position}.\n\npočetak{document}x{position} {text} kraj{document}x{position}."


def kind(passage: str) -> str:
    """Whether a passage is of the old index, where an article is whole."""
    return "old" if "početak" in passage and "kraj" in passage else "new"


def config(folder: Path, embedder: str, chunk_tokens: int) -> str:
    """The shipped local config with a deterministic embedder, another one for each name."""
    raw: dict[str, Any] = yaml.safe_load(LOCAL_CONFIG.read_text("utf-8"))
    args = raw["applications"][0]["args"]
    args["embedding"] = {"backend": "fake", "model": embedder}
    args["reranking"] = {"backend": "fake"}
    args["generation"] = {**args.get("generation", {}), "engine": "extractive"}
    args["query"] = {**args.get("query", {}), "max_section_characters": 0}  # else both passages come as the article
    args["ingestion"] = {**args.get("ingestion", {}), "chunk_tokens": chunk_tokens, "chunk_overlap": 8}
    path = folder / f"{embedder}.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    return str(path)


def state(service: Service) -> Mapping[str, Any]:
    with service.client() as client:
        found: Mapping[str, Any] = client.get("/v1/reindex").raise_for_status().json()
    return found


@contextmanager
def asking(service: Service, per_s: float) -> Iterator[Asked]:
    """Questions at a steady rate, each in a thread of its own, until the block ends."""
    asked, over, threads = Asked(), threading.Event(), list[threading.Thread]()
    words = random.Random(2)
    with service.client(timeout_s=60) as client:

        def ask(text: str) -> None:
            began = time.monotonic()
            try:
                answer = client.post("/v1/query", json={"query": text, "stream": False})
                asked.take(answer, time.monotonic() - began)
            except httpx.HTTPError as error:
                asked.failed.append(f"{type(error).__name__}: {error}")

        def go_on() -> None:
            while not over.wait(1 / per_s):
                text = " ".join(words.choices(VOCABULARY, k=3))
                threads.append(threading.Thread(target=ask, args=(f"Koji je {text}?",)))
                threads[-1].start()

        clock = threading.Thread(target=go_on)
        clock.start()
        try:
            yield asked
        finally:
            over.set()
            join([clock])
            join(threads)


def join(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
