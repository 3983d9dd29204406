"""From process start to the first sourced answer, on an empty data folder, vLLM installed but not serving."""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time

import httpx

from benchmarks.service import Service, report, running

QUESTION = "Koliko dugo se čuvaju dokumenti?"
GIVE_UP_S = 180


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    if importlib.util.find_spec("vllm") is None:
        raise SystemExit("vllm is not installed; the figure is for an installation that has it")
    ready, memory = [], []
    for number in range(1, arguments.repeats + 1):
        with running() as service:
            ready.append(first_sourced_answer(service))
            memory.append(service.rss_mb())
        print(f"start {number}: {ready[-1]:.1f} s, {memory[-1]:.0f} MB", flush=True)
    report({"ready_s": round(statistics.median(ready), 2), "rss_mb": round(statistics.median(memory))})


def first_sourced_answer(service: Service) -> float:
    """Seconds from process start until /v1/query answers the question with at least one source and a citation."""
    while time.monotonic() - service.started < GIVE_UP_S and service.process.poll() is None:
        if service.key():
            try:
                with service.client(timeout_s=10) as client:
                    answer = client.post("/v1/query", json={"query": QUESTION, "stream": False})
            except httpx.HTTPError:
                pass
            else:
                if answer.status_code == 200 and answer.json()["sources"] and answer.json()["citations"]:
                    if answer.json()["engine"] == "vllm":
                        raise SystemExit("vllm serves; empty the model cache, the figure is for the extractive engine")
                    return time.monotonic() - service.started
        time.sleep(0.5)
    raise SystemExit(f"no sourced answer:\n{(service.data_dir / 'up.log').read_text(errors='replace')}")


if __name__ == "__main__":
    main()
