"""Questions a second whose candidates a cross-encoder scores: the reranking stage beside the library's `predict`, one
question after another, both in float32 on the same threads. A seeded random model of six layers, 384 wide.

`predict` is tried with several batch sizes; the best of them runs interleaved with the stage.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from sentence_transformers import CrossEncoder
from transformers import BertConfig, BertForSequenceClassification

from benchmarks.embedding import WORDS
from benchmarks.service import report
from deployments.reranking.config import RerankingConfig
from deployments.reranking.deployment import Reranking
from tests.support.models import save_random

MAX_TOKENS, TOP_K = 256, 5
MODEL = BertConfig(
    hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536, num_labels=1,
    max_position_embeddings=MAX_TOKENS, initializer_range=0.05,
)  # fmt: skip
"""Larger weights than usual, so that scores differ."""
BATCH_SIZES = (4, 8, 16, 32)
Question = tuple[str, list[str]]


def questions(number: int, candidates: int) -> list[Question]:
    """Candidates are as long as passages of real documents are: many short, some as long as the model reads."""
    drawn = random.Random(3)

    def words(most: int, median: float) -> str:
        return " ".join(drawn.choices(WORDS, k=min(most, max(3, int(drawn.lognormvariate(median, 0.8))))))

    return [(words(20, 2), [words(90, 3.5) for _ in range(candidates)]) for _ in range(number)]


async def in_stage(stage: Reranking, asked: Sequence[Question], clients: int) -> tuple[float, list[list[float]]]:
    """Questions a second, and their scores."""
    left, scores = iter(enumerate(asked)), dict[int, list[float]]()

    async def client() -> None:
        for number, (query, texts) in left:
            scores[number] = await stage.score(query, texts)

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return len(asked) / (time.perf_counter() - began), [scores[number] for number in range(len(asked))]


def predicted(model: CrossEncoder, asked: Sequence[Question], size: int) -> tuple[float, list[list[float]]]:
    began = time.perf_counter()
    scores = [
        model.predict([(query, text) for text in texts], batch_size=size, show_progress_bar=False).tolist()
        for query, texts in asked
    ]
    return len(asked) / (time.perf_counter() - began), scores


def best(scores: Sequence[float]) -> list[int]:
    return sorted(range(len(scores)), key=lambda at: -scores[at])[:TOP_K]


async def measure(arguments: argparse.Namespace) -> None:
    asked = questions(arguments.questions, arguments.candidates)
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as name:
        save_random(Path(name), BertForSequenceClassification, MODEL, MAX_TOKENS)
        model = CrossEncoder(name, device="cpu", model_kwargs={"dtype": torch.float32})
        stage = Reranking(
            RerankingConfig(backend="cross_encoder", model=name, languages=(), max_candidates=arguments.candidates)
        )
    await in_stage(stage, asked[:4], arguments.clients)
    sweep = dict[int, float]()
    for size in BATCH_SIZES:
        predicted(model, asked[:2], size)
        sweep[size], _ = predicted(model, asked, size)
        print(f"predict, {size} in a batch: {sweep[size]:.2f} questions/s", flush=True)
    size = max(sweep, key=sweep.__getitem__)
    mine, theirs = list[float](), list[float]()
    for repeat in range(arguments.repeats):
        if repeat % 2:
            mine_rate, mine_scores = await in_stage(stage, asked, arguments.clients)
        torch.set_num_threads(threads)
        their_rate, their_scores = predicted(model, asked, size)
        if not repeat % 2:
            mine_rate, mine_scores = await in_stage(stage, asked, arguments.clients)
        mine.append(mine_rate)
        theirs.append(their_rate)
        print(f"stage {mine[-1]:.2f}, predict {theirs[-1]:.2f} questions/s", flush=True)
    same = all(best(ours) == best(others) for ours, others in zip(mine_scores, their_scores, strict=True))
    report(
        {
            "rate_ratio_vs_predict": round(statistics.median(mine) / statistics.median(theirs), 2),
            "same_top_k": int(same),
            "predict_batch_size": size,
            "threads": threads,
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--questions", type=int, default=24)
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
