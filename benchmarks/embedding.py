"""Texts a second from concurrent requests of one text each, of skewed lengths: the embedding stage beside Serve's own
batching (`@serve.batch`) in front of the library's `encode`, both in float32 on the same threads.

Every size and wait of Serve's batching is tried once; the best of them runs interleaved with the stage.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import statistics
import time
import warnings
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
import torch
from ray import serve
from ray.serve import batching
from sentence_transformers import SentenceTransformer

from benchmarks.service import report
from deployments.embedding.config import EmbeddingConfig
from deployments.embedding.deployment import Embedding
from deployments.inference.bundled import MINILM
from deployments.inference.weights import locate
from deployments.types import Matrix, TextKind, Vector

THREADS = torch.get_num_threads()
SIZES, WAITS_MS = (8, 16, 32, 64, 128), (0, 2, 5, 10)
WORDS = ("rok", "za", "žalbu", "je", "petnaest", "dana", "the", "controller", "keeps", "a", "register", "of", "data")
KEPT: list[object] = []
Ask = Callable[[str], Awaitable[Vector]]


def texts(number: int, seed: int) -> list[str]:
    """As questions and passages are: most have a few words, one in ten over fifty."""
    drawn = random.Random(seed)
    lengths = [min(200, max(2, int(drawn.lognormvariate(2.7, 1.0)))) for _ in range(number)]
    return [" ".join(drawn.choices(WORDS, k=length)) for length in lengths]


def ours(embedding: Embedding, kind: TextKind) -> Ask:
    async def ask(text: str) -> Vector:
        vector: Vector = (await embedding.embed([text], kind)).vectors[0]
        return vector

    return ask


def serve_batch(model: SentenceTransformer, size: int, wait_ms: float) -> Ask:
    class Batched:
        @serve.batch(max_batch_size=size, batch_wait_timeout_s=wait_ms / 1000)  # type: ignore[untyped-decorator]
        async def embed(self, asked: list[str]) -> list[Vector]:
            found: Matrix = await asyncio.to_thread(encoded, model, asked)
            return list(found)

    # Outside of a replica there is no limit that it could warn of.
    batching._BatchQueue._warn_if_max_batch_size_exceeds_max_ongoing_requests = lambda _: None
    batched = Batched()
    KEPT.append(batched)  # its queue's task must not be collected while the loop runs
    embed: Any = batched.embed
    return lambda text: embed(text)


def encoded(model: SentenceTransformer, asked: Sequence[str]) -> Matrix:
    torch.get_num_threads()  # a thread's first call takes over what the stage has set for its own
    torch.set_num_threads(THREADS)
    found: Matrix = model.encode(list(asked), normalize_embeddings=True, show_progress_bar=False)
    return found


async def rate(ask: Ask, asked: Sequence[str], clients: int) -> float:
    """Texts a second, each client sending its next when it has the answer to the one before."""
    left = iter(asked)

    async def client() -> None:
        for text in left:
            await ask(text)

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return len(asked) / (time.perf_counter() - began)


async def idle_ms(ask: Ask, asked: Sequence[str]) -> list[float]:
    taken = []
    for text in asked:
        began = time.perf_counter()
        await ask(text)
        taken.append(1000 * (time.perf_counter() - began))
    return taken


def int8(model: SentenceTransformer, sample: Sequence[str]) -> dict[str, float]:
    """What eight-bit weights would gain in the library's own loop, and how far their vectors are from the model's."""
    with warnings.catch_warnings(action="ignore"):
        shorter = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)  # type: ignore[no-untyped-call]
    taken = list[float]()
    for encoder in (model, shorter, model, shorter, model, shorter):
        began = time.perf_counter()
        encoded(encoder, sample)
        taken.append(time.perf_counter() - began)
    cosines = (encoded(model, sample) * encoded(shorter, sample)).sum(axis=1)
    ratio = statistics.median(taken[::2]) / statistics.median(taken[1::2])
    return {"rate_ratio": round(ratio, 2), "cosine_min": round(float(cosines.min()), 4)}


async def measure(arguments: argparse.Namespace) -> None:
    asked, warm = texts(arguments.texts, seed=1), texts(arguments.clients * 2, seed=2)
    model = SentenceTransformer(str(locate(MINILM, None, "model")), device="cpu", model_kwargs={"dtype": torch.float32})
    embedding = Embedding(EmbeddingConfig(model=MINILM, dtype="float32"))
    stage, passages = ours(embedding, "query"), ours(embedding, "passage")
    print(f"{THREADS} threads, {arguments.clients} clients, {len(asked)} texts", flush=True)
    for ask in (stage, passages, serve_batch(model, 32, 0)):
        await rate(ask, warm, arguments.clients)

    embedder = embedding._embedder
    questions = [text for text in asked if len(text) < 80][:100]

    async def bare(text: str) -> Vector:
        ((window,),) = embedder.split([text], "query")
        vector: Vector = embedder.forward([window], "query")[0]
        return vector

    in_torch = ours(Embedding(EmbeddingConfig(model=MINILM, dtype="float32", runtime="torch")), "query")
    idle: dict[str, list[float]] = {"alone": [], "stage": [], "torch": []}
    for start in range(0, len(questions), 20):
        for name, way in (("alone", bare), ("stage", stage), ("torch", in_torch)):
            idle[name] += await idle_ms(way, questions[start : start + 20])
    sweep = dict[tuple[int, int], float]()
    for size, wait_ms in itertools.product(SIZES, WAITS_MS):
        sweep[size, wait_ms] = await rate(serve_batch(model, size, wait_ms), asked, arguments.clients)
        print(f"@serve.batch {size}, {wait_ms} ms: {sweep[size, wait_ms]:.1f}/s", flush=True)
    best = max(sweep, key=sweep.__getitem__)
    found: dict[str, list[float]] = {"questions": [], "passages": [], "serve_batch": []}
    ways = {"questions": stage, "passages": passages, "serve_batch": serve_batch(model, *best)}
    for repeat in range(arguments.repeats):
        for name in list(ways)[:: 1 if repeat % 2 else -1]:
            found[name].append(await rate(ways[name], asked, arguments.clients))
        print(", ".join(f"{name} {rates[-1]:.1f}/s" for name, rates in found.items()), flush=True)

    sample = asked[:200]
    mine = np.array([await stage(text) for text in sample])
    cosines = (mine * encoded(model, sample)).sum(axis=1)
    rates = {name: statistics.median(measured) for name, measured in found.items()}
    report(
        {
            "rate_ratio_vs_serve_batch": round(rates["questions"] / rates["serve_batch"], 2),
            "rate_ratio_vs_serve_batch_passages": round(rates["passages"] / rates["serve_batch"], 2),
            "best_serve_batch": f"{best[0]} texts, {best[1]} ms",
            "idle_added_ms": round(statistics.median(idle["stage"]) - statistics.median(idle["alone"]), 2),
            "question_ms": round(statistics.median(idle["stage"]), 1),
            "question_ms_in_torch": round(statistics.median(idle["torch"]), 1),
            "cosine_min": round(float(cosines.min()), 5),
            "texts_s": round(rates["questions"], 1),
            "int8": int8(model, sample),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--texts", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=5)
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
