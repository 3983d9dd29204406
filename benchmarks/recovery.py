"""From SIGKILL of a stage's only replica to the next whole answer: embedded default, vLLM on a tiny model."""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import tempfile
import time
from pathlib import Path

import httpx
import psutil
import yaml

from benchmarks.service import Service, report, running
from rag.cli.configs import LOCAL_CONFIG
from tests.support.tiny_model import make_tiny_model

STAGES = ("embedding", "retrieval", "reranking", "generation", "ingress")
QUESTION = {"query": "Koliko dugo se čuvaju dokumenti?", "stream": False, "max_tokens": 8}
GIVE_UP_S = 180
REST_S = 5
"""Between two kills, so that what the last one set off is over."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    seconds: dict[str, list[float]] = {stage: [] for stage in STAGES}
    with tempfile.TemporaryDirectory() as folder, running("--config", str(with_vllm(Path(folder)))) as service:
        service.wait_ready(600)
        until_answered(service)
        for number in range(1, arguments.repeats + 1):
            for stage in STAGES:
                time.sleep(REST_S)
                kill(service, stage)
                seconds[stage].append(until_answered(service))
                print(f"{stage} {number}: {seconds[stage][-1]:.1f} s", flush=True)
    report({f"{stage}_s": round(statistics.median(measured), 1) for stage, measured in seconds.items()})


def with_vllm(folder: Path) -> Path:
    """The shipped local config with a model that is on this machine, so that `engine: auto` takes vLLM."""
    raw = yaml.safe_load(LOCAL_CONFIG.read_text("utf-8"))
    model = make_tiny_model(folder / "tiny", context_tokens=16_384)
    raw["applications"][0]["args"]["generation"]["model"] = str(model)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    return path


def kill(service: Service, stage: str) -> None:
    title = f"ServeReplica:rag:{stage}"
    tree = psutil.Process(service.process.pid).children(recursive=True)
    victims = [process for process in tree if title in " ".join(process.cmdline())]
    if len(victims) != 1:
        raise SystemExit(f"{stage} has {len(victims)} replicas, one was expected")
    os.kill(victims[0].pid, signal.SIGKILL)


def until_answered(service: Service) -> float:
    """Seconds until a whole answer by vLLM with its sources."""
    began = time.monotonic()
    while time.monotonic() - began < GIVE_UP_S:
        try:
            with service.client(timeout_s=10) as client:
                answer = client.post("/v1/query", json=QUESTION)
        except httpx.HTTPError:
            pass
        else:
            if answer.status_code == 200 and answer.json()["sources"]:
                if answer.json()["engine"] != "vllm":
                    raise SystemExit("vllm does not serve; is it installed?")
                return time.monotonic() - began
        time.sleep(0.2)
    raise SystemExit(f"no answer within {GIVE_UP_S} s")


if __name__ == "__main__":
    main()
