"""One BEAM with many streams: all open at once and none lost or mixed; owners killed and nothing left in the engine."""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.service import ray_folder, report, watched

WORDS = 500
WORD_MS = 20
TOKENS = 4_000
SETTLED_S = 2.0
PATIENT = {"deadline_s": 1_800, "max_deadline_s": 1_800, "first_token_s": 1_800}
"""Nobody gives up because the machine is slow: nothing may be lost, however long it takes."""
ROOMY_STORE = {"pool_size": 100, "timeout_s": 300}
"""All questions come at the same moment."""
DOCUMENT = {"id": "zup", "title": "ZUP", "language": "hr", "text": "Žalba se podnosi u roku od 15 dana."}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--open", type=int, default=1_000, help="streams open at once; 0 leaves the part out")
    parser.add_argument("--streaming", type=int, default=200, help="vLLM streams, half of them killed; 0: none")
    arguments = parser.parse_args()
    with ray_folder() as folder:
        figures: dict[str, Any] = {}
        if arguments.open:
            figures |= open_at_once(folder, arguments.open)
        if arguments.streaming:
            figures |= owners_killed(folder, arguments.streaming)
    report(figures)


def open_at_once(folder: Path, count: int) -> dict[str, Any]:
    from tests.support.service import service

    args = {
        "store": ROOMY_STORE,
        "embedding": {"backend": "fake"},
        "retrieval": {"backend": "fake"},
        "reranking": {"backend": "fake"},
        "generation": {"engine": "fake", "fake_delay_ms": WORD_MS, "max_num_seqs": count + 100},
        "api": {**PATIENT, "max_query_characters": 20 * WORDS},
    }
    with service(folder / "open", args, **roomy(count)) as running:
        running.ingest([DOCUMENT])
        began = time.monotonic()
        with Beam(folder, running, "open", str(count), str(WORDS)) as beam, watched(load, 0.5) as peak:
            facts = beam.until_end()
        print(f"{count} streams: {facts}, {time.monotonic() - began:.0f} s", flush=True)
        return {
            "open_at_once": facts["open_at_once"],
            "lost": facts["lost"],
            "mixed": facts["mixed"],
            "engine_at_once": max(peak),
            "chunks": facts["chunks"],
            "chunks_expected": count * WORDS,
            "open_s": round(time.monotonic() - began, 1),
        }


def owners_killed(folder: Path, count: int) -> dict[str, Any]:
    from tests.support.service import service
    from tests.support.tiny_model import make_tiny_model

    generation = {
        "engine": "vllm",
        "model": str(make_tiny_model(folder / "tiny", context_tokens=16_384)),
        "context_tokens": 16_384,
        "max_num_seqs": count,
        "cpu_kv_cache_gb": 4,
        "engine_kwargs": {"enforce_eager": True},
    }
    with service(
        folder / "kill", {"store": ROOMY_STORE, "generation": generation, "api": PATIENT}, **roomy(count)
    ) as running:
        running.ingest([DOCUMENT])
        running.ask("Koji je rok?", max_tokens=8)
        with Beam(folder, running, "kill", str(count), str(TOKENS)) as beam:
            facts = beam.until("killed")
            killed_at = time.monotonic()
            print(f"before: {facts}", flush=True)
            gone_s = None
            while (since := time.monotonic() - killed_at) < SETTLED_S:
                left = load() - facts["kept"]
                if left <= 0:
                    gone_s = round(since, 2)
                    break
                time.sleep(0.05)
            orphans = max(load() - facts["kept"], 0)
            facts |= beam.until_end()
        print(f"after: {facts}", flush=True)
        time.sleep(SETTLED_S)
        return {
            "streaming": facts["streaming"],
            "killed": facts["killed"],
            "orphans": orphans,
            "gone_s": gone_s,
            "completed": facts["completed"],
            "left_in_engine": load(),
        }


def roomy(count: int) -> dict[str, Mapping[str, Any]]:
    """Stages that take all streams at once: the client is what is measured."""
    from tests.support.service import STAGES

    return {stage: {"max_ongoing_requests": count + 100, "max_queued_requests": 2 * count} for stage in STAGES}


def load() -> int:
    """Answers that the engine is working on or has waiting."""
    from tests.support.service import engine_load

    found = asyncio.run(engine_load())
    return found.running + found.waiting


class Beam:
    """bench/streams.exs, and the facts that it prints line by line."""

    def __init__(self, folder: Path, running: Any, *arguments: str) -> None:
        from tests.support.elixir import CLIENT, mix_environment

        where = {"RAG_TEST_URL": running.url, "RAG_TEST_KEY": running.key}
        self._process = subprocess.Popen(
            ["mix", "run", "bench/streams.exs", *arguments],
            cwd=CLIENT,
            env=mix_environment(folder / "mix", where),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._facts: dict[str, Any] = {}

    def __enter__(self) -> Beam:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def until(self, fact: str) -> dict[str, Any]:
        while fact not in self._facts:
            if not self._read():
                raise SystemExit(f"the BEAM ended before it told {fact}: {self._facts}")
        return self._facts

    def until_end(self) -> dict[str, Any]:
        while self._read():
            pass
        if self._process.wait() != 0:
            raise SystemExit(f"the BEAM failed; it told {self._facts}")
        return self._facts

    def _read(self) -> bool:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line.startswith("{"):
            self._facts |= json.loads(line)
        return bool(line)


if __name__ == "__main__":
    main()
