"""The service's chat route beside vLLM's own server: same model, same engine arguments, one client and eight; behind
HAProxy, which the bounds are for, and behind Serve's own proxy, the local default.

All of them run all the time, and one is asked. Answers are counted by the tokens of their usage.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.chat_client import Answer, Server, clients
from benchmarks.host import hosted
from benchmarks.service import PREFIX, ordinary_environment, report
from serve_app.config.args import AppArgs
from tests.support.service import Running, free_port
from tests.support.tiny_model import make_tiny_model

BARE, OURS, LOCAL = "vllm", "haproxy", "stock_proxy"
TOKENS = 128
MANY = 8
QUESTIONS = {1: 12, MANY: 6}
"""Of each client in each repeat."""
CONTEXT_TOKENS = 8_192
MAX_NUM_SEQS = 16
KV_CACHE_GB = 1
DOCUMENTS = 200
QUERIES = 30


@dataclass(frozen=True, slots=True)
class Figures:
    first_ms: float
    tokens_per_s: float
    gap_p99_ms: float


Found = dict[tuple[str, int], list[Figures]]
"""By server and number of clients, one of each repeat."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name, ExitStack() as started:
        folder = Path(name)
        model = make_tiny_model(folder / "tiny", context_tokens=CONTEXT_TOKENS)
        args = {
            "generation": {
                "engine": "vllm",
                "model": str(model),
                "context_tokens": CONTEXT_TOKENS,
                "max_num_seqs": MAX_NUM_SEQS,
                "cpu_kv_cache_gb": KV_CACHE_GB,
                "engine_kwargs": {"enforce_eager": True},
            }
        }
        servers = [started.enter_context(vllm(model, free_port(), folder))]
        for name, haproxy in ((OURS, True), (LOCAL, False)):
            at = started.enter_context(hosted(args, haproxy=haproxy))
            servers.append(Server(name, at.url, str(model), at.key))
        figures = measured(servers, arguments.repeats)
        stages = {server.name: query_stages(server) for server in servers[1:]}
    report({**compared(figures, OURS), "local_default": compared(figures, LOCAL), "query": stages, **plain(figures)})


def measured(servers: Sequence[Server], repeats: int) -> Found:
    found: Found = {(server.name, count): [] for server in servers for count in QUESTIONS}
    for count, questions in QUESTIONS.items():
        with ExitStack() as started:
            asking = [(server.name, started.enter_context(clients(server, count, TOKENS))) for server in servers]
            for number in range(repeats):
                for name, those in asking[:: 1 if number % 2 else -1]:
                    found[name, count].append(figures_of(those.ask(questions)))
                    print(name, count, found[name, count][-1], flush=True)
    return found


def figures_of(answers: Sequence[Sequence[Answer]]) -> Figures:
    every = [answer for by_client in answers for answer in by_client]
    seconds = max(answer.came[-1] for answer in every) - min(answer.sent for answer in every)
    gaps = [gap for answer in every for gap in answer.gaps_ms]
    return Figures(
        first_ms=statistics.median(answer.first_ms for answer in every),
        tokens_per_s=sum(answer.tokens for answer in every) / seconds,
        gap_p99_ms=statistics.quantiles(gaps, n=100, method="inclusive")[-1],
    )


def compared(found: Found, name: str) -> dict[str, float]:
    def ratio(count: int, of: str) -> float:
        return round(_median(getattr(ours, of) / getattr(bare, of) for ours, bare in pairs(count)), 3)

    def added(count: int, of: str) -> float:
        return round(_median(getattr(ours, of) - getattr(bare, of) for ours, bare in pairs(count)), 2)

    def pairs(count: int) -> Iterable[tuple[Figures, Figures]]:
        return zip(found[name, count], found[BARE, count], strict=True)

    return {
        "ttft_added_ms_c1": added(1, "first_ms"),
        "tok_s_ratio_c1": ratio(1, "tokens_per_s"),
        "tok_s_ratio_c8": ratio(MANY, "tokens_per_s"),
        "itl_p99_ratio_c1": ratio(1, "gap_p99_ms"),
        "gap_p99_added_ms_c8": added(MANY, "gap_p99_ms"),
    }


def _median(values: Iterable[float]) -> float:
    return float(statistics.median(values))


def plain(found: Found) -> dict[str, dict[str, float]]:
    return {
        f"{name}_c{count}": {
            of: round(statistics.median(getattr(figure, of) for figure in figures), 2) for of in Figures.__slots__
        }
        for (name, count), figures in found.items()
    }


def query_stages(server: Server) -> dict[str, float]:
    """Medians of what `/v1/query` says of itself, one question at a time, milliseconds."""
    running = Running(server.url, server.key, AppArgs())
    texts = [f"Žalba broj {number} podnosi se u roku od {number % 40 + 5} dana." for number in range(DOCUMENTS)]
    running.ingest([{"id": str(number), "text": text} for number, text in enumerate(texts)], timeout_s=300)
    asked = [running.ask(f"Koji je rok za žalbu broj {number}?", max_tokens=8)["timings"] for number in range(QUERIES)]
    return {stage: round(statistics.median(stages[stage] for stages in asked), 2) for stage in asked[0]}


@contextmanager
def vllm(model: Path, port: int, folder: Path) -> Iterator[Server]:
    """vLLM's own OpenAI server on this machine."""
    arguments = ["--max-model-len", str(CONTEXT_TOKENS), "--max-num-seqs", str(MAX_NUM_SEQS), "--enforce-eager"]
    print("vLLM's server:", *arguments, flush=True)
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), "--host", "127.0.0.1"]
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
            yield Server(BARE, url, str(model), "")
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
