"""The production configuration on two Ray nodes with logical GPUs, its backends replaced by the shipped fakes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from cluster.node_start import adapted_start
from tests.support.service import Running, deployed, free_port
from tests.support.starting import start_lock

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.timeout(900)
PATIENCE_S = 600
SCALED = ("embedding", "generation")
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/query", {"query": "a question of some ten words that the fake will repeat", "stream": False}),
    # Embedding has load of its own: in a question its part is over before another comes.
    ("/v1/embeddings", {"model": "fake", "input": ["a text of many words " * 50] * 32}),
]


def production_on_fakes(folder: Path) -> dict[str, Any]:
    """serve_config.yaml as it ships, but for what this machine has not: GPUs that compute, Milvus, PostgreSQL, S3."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    application = config["applications"][0]
    args = application["args"]
    args["data_dir"] = str(folder)
    args["embedding"] = {"backend": "fake"}
    args["reranking"] = {"backend": "fake"}
    args["retrieval"] = {"backend": "fake"}
    # An answer takes two seconds: most of a question's time is generation's, however slow the machine is at the rest.
    args["generation"] = {"engine": "fake", "fake_delay_ms": 200}
    args["store"] = {"url": "sqlite:///rag.db"}
    args["blobs"] = {"url": "blobs"}
    config["http_options"] |= {"host": "127.0.0.1", "port": free_port()}
    for deployment in application["deployments"]:
        match deployment["name"]:
            case "embedding" | "generation" as name:
                # One after the other, each within the test's patience; the bounds are the file's own kind.
                deployment["autoscaling_config"] = deployment["autoscaling_config"] | {
                    "min_replicas": 1,
                    "max_replicas": 2,
                    "initial_replicas": 1,
                    "target_ongoing_requests": 1 if name == "generation" else 0.25,
                    "upscale_delay_s": 1,
                    "downscale_delay_s": 2,
                    "metrics_interval_s": 0.5,
                    "look_back_period_s": 1,
                }
                if name == "generation":
                    deployment["ray_actor_options"] = {"num_cpus": 0, "num_gpus": 1}
            case "reranking":
                pass
            case _:
                # The stores of this test have one owner each; the fake index keeps its own in memory.
                deployment.pop("autoscaling_config", None)
                deployment.pop("ray_actor_options", None)
                deployment |= {"num_replicas": 1}
    return config


@pytest.fixture
def cluster() -> Iterator[Any]:
    import ray
    from ray.cluster_utils import Cluster

    # Wherever Serve puts embedding and reranking, a quarter of a GPU each: the whole ones that two of generation need
    # are left.
    size = {"num_cpus": 4, "num_gpus": 2, "object_store_memory": 100 * 1024 * 1024}
    with start_lock():
        with adapted_start():
            nodes = Cluster(initialize_head=True, connect=True, head_node_args={**size, "include_dashboard": False})
            nodes.add_node(**size)
        nodes.wait_for_nodes()
    yield nodes
    ray.shutdown()
    nodes.shutdown()


@pytest.fixture
def running(cluster: Any, tmp_path: Path) -> Iterator[Running]:
    with deployed(production_on_fakes(tmp_path), ready_within_s=600) as started:
        started.ingest([{"id": "d", "language": "en", "text": "A question of ten words, answered."}])
        yield started


def replica_counts() -> dict[str, int]:
    from ray import serve

    deployments = serve.status().applications["rag"].deployments
    return {name: deployments[name].replica_states.get("RUNNING", 0) for name in SCALED}


async def wait_for(counts: dict[str, int], seconds: float) -> None:
    end = time.monotonic() + seconds
    while (now := await asyncio.to_thread(replica_counts)) != counts:
        assert time.monotonic() < end, f"still {now}, wanted {counts}"
        await asyncio.sleep(0.5)


async def load(running: Running, path: str, body: dict[str, Any], stop: asyncio.Event) -> int:
    """One call after another, until told to stop; the answers that came."""
    answers = 0
    async with httpx.AsyncClient(base_url=running.url, headers=running.headers, timeout=60, trust_env=False) as client:
        while not stop.is_set():
            answer = await client.post(path, json=body)
            assert answer.status_code == 200, answer.text
            answers += 1
    return answers


async def test_load_drives_embedding_and_generation_to_two_replicas_and_back(running: Running) -> None:
    import ray

    assert len([each for each in ray.nodes() if each["Alive"]]) == 2
    await wait_for(dict.fromkeys(SCALED, 1), PATIENCE_S)
    stop = asyncio.Event()
    callers = [asyncio.create_task(load(running, *call, stop)) for call in CALLS for _ in range(8)]
    try:
        await wait_for(dict.fromkeys(SCALED, 2), PATIENCE_S)
    finally:
        stop.set()
    assert all(await asyncio.gather(*callers))
    await wait_for(dict.fromkeys(SCALED, 1), PATIENCE_S)
