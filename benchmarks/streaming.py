"""The service's chat route beside vLLM's own server: same model, same engine arguments, one client and eight.

Both run all the time, and one of them is asked. Answers are counted by the tokens of their usage.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.chat_client import Answer, Clients, Server, clients
from benchmarks.service import ordinary_environment, ray_folder, report

TOKENS = 128
MANY = 8
QUESTIONS = {1: 12, MANY: 6}
"""Of each client in each repeat."""
CONTEXT_TOKENS = 4_096
MAX_NUM_SEQS = 16
KV_CACHE_GB = 1
DOCUMENTS = 200
QUERIES = 30


@dataclass(frozen=True, slots=True)
class Figures:
    first_ms: float
    tokens_per_s: float
    gap_p99_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--stock-proxy", action="store_true", help="Serve's own proxy in front instead of HAProxy")
    arguments = parser.parse_args()
    with ray_folder(haproxy=not arguments.stock_proxy) as folder:
        from tests.support.service import free_port, service
        from tests.support.tiny_model import make_tiny_model

        model = make_tiny_model(folder / "tiny", context_tokens=CONTEXT_TOKENS)
        generation = {
            "engine": "vllm",
            "model": str(model),
            "context_tokens": CONTEXT_TOKENS,
            "max_num_seqs": MAX_NUM_SEQS,
            "cpu_kv_cache_gb": KV_CACHE_GB,
            "engine_kwargs": {"enforce_eager": True},
        }
        with service(folder, {"generation": generation}) as running, vllm(model, free_port(), folder) as bare:
            ours = Server("service", running.url, str(model), running.key)
            figures = measured((bare, ours), arguments.repeats)
            stages = query_stages(running)
    report({"proxy": "Serve's own" if arguments.stock_proxy else "HAProxy", **compared(figures), **stages})


def measured(servers: Sequence[Server], repeats: int) -> dict[tuple[str, int], list[Figures]]:
    found: dict[tuple[str, int], list[Figures]] = {(each.name, count): [] for each in servers for count in QUESTIONS}
    for count, questions in QUESTIONS.items():
        with clients(servers[0], count, TOKENS) as first, clients(servers[1], count, TOKENS) as second:
            asking: dict[str, Clients] = {servers[0].name: first, servers[1].name: second}
            for number in range(repeats):
                for name in sorted(asking, reverse=number % 2 == 1):
                    found[name, count].append(figures_of(asking[name].ask(questions)))
                    print(name, count, found[name, count][-1], flush=True)
    return found


def figures_of(answers: Sequence[Sequence[Answer]]) -> Figures:
    every = [answer for each in answers for answer in each]
    seconds = max(answer.came[-1] for answer in every) - min(answer.sent for answer in every)
    gaps = [gap for answer in every for gap in answer.gaps_ms]
    return Figures(
        first_ms=statistics.median(answer.first_ms for answer in every),
        tokens_per_s=sum(answer.tokens for answer in every) / seconds,
        gap_p99_ms=statistics.quantiles(gaps, n=100, method="inclusive")[-1],
    )


def compared(found: Mapping[tuple[str, int], Sequence[Figures]]) -> dict[str, object]:
    def ratio(count: int, of: str) -> float:
        pairs = zip(found["service", count], found["vllm", count], strict=True)
        return round(statistics.median(getattr(ours, of) / getattr(bare, of) for ours, bare in pairs), 3)

    def added(count: int, of: str) -> float:
        pairs = zip(found["service", count], found["vllm", count], strict=True)
        return round(statistics.median(getattr(ours, of) - getattr(bare, of) for ours, bare in pairs), 2)

    def plain(of: str) -> dict[str, float]:
        return {
            f"{name}_{of}_c{count}": round(statistics.median(getattr(each, of) for each in figures), 2)
            for (name, count), figures in found.items()
        }

    return {
        "ttft_added_ms_c1": added(1, "first_ms"),
        "tok_s_ratio_c1": ratio(1, "tokens_per_s"),
        "tok_s_ratio_c8": ratio(MANY, "tokens_per_s"),
        "itl_p99_ratio_c1": ratio(1, "gap_p99_ms"),
        "gap_p99_added_ms_c8": added(MANY, "gap_p99_ms"),
        **plain("first_ms"),
        **plain("tokens_per_s"),
        **plain("gap_p99_ms"),
    }


def query_stages(running: Any) -> dict[str, object]:
    """Medians of what `/v1/query` says of itself, one question at a time, milliseconds."""
    texts = [f"Žalba broj {number} podnosi se u roku od {number % 40 + 5} dana." for number in range(DOCUMENTS)]
    running.ingest([{"id": str(number), "text": text} for number, text in enumerate(texts)], timeout_s=300)
    asked = [running.ask(f"Koji je rok za žalbu broj {number}?", max_tokens=8)["timings"] for number in range(QUERIES)]
    return {f"query_{stage}_ms": round(statistics.median(each[stage] for each in asked), 2) for stage in asked[0]}


@contextmanager
def vllm(model: Path, port: int, folder: Path) -> Iterator[Server]:
    """vLLM's own OpenAI server on this machine."""
    arguments = ["--max-model-len", str(CONTEXT_TOKENS), "--max-num-seqs", str(MAX_NUM_SEQS), "--enforce-eager"]
    print("vllm serve", *arguments, flush=True)
    command = [str(Path(sys.executable).with_name("vllm")), "serve", str(model), "--host", "127.0.0.1"]
    environment = ordinary_environment() | {"VLLM_CPU_KVCACHE_SPACE": str(KV_CACHE_GB), "VLLM_NO_USAGE_STATS": "1"}
    with (folder / "vllm.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--no-enable-log-requests", "--disable-uvicorn-access-log", *arguments],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(process, f"{url}/health", folder / "vllm.log")
            yield Server("vllm", url, str(model), "")
        finally:
            os.killpg(process.pid, 15)
            process.wait(60)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path, timeout_s: float = 240) -> None:
    end = time.monotonic() + timeout_s
    with httpx.Client(trust_env=False) as client:
        while True:
            try:
                if client.get(url).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"vLLM's server did not start: {log.read_text()[-2000:]}")
            time.sleep(0.5)


if __name__ == "__main__":
    main()
