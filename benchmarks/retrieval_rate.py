"""Searches a second with concurrent clients when a tenant's questions share calls, beside one question to a call: the
same passages in the embedded index, `retrieval.max_questions` as configured and 1."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.service import report
from deployments.retrieval.config import RetrievalConfig
from deployments.retrieval.deployment import Retrieval
from deployments.types import Candidate, Embeddings, IndexEntry, IndexGeneration, Passage, RetrievalRequest, Scope

DIMENSION = 384
TERMS, TERMS_IN_PASSAGE, TERMS_IN_QUESTION = 20_000, 80, 8
STOP_WORDS = 100
"""The commonest words, which reach no index."""
TENANTS = 8
TEXT = "Rok za žalbu je petnaest dana od dana dostave rješenja, ako zakonom nije propisan drugi rok. " * 8
ROUNDING = 1e-6
"""The largest difference of scores. BLAS adds up a product of matrices in another order than one of a matrix and a
vector. So a cosine in float32 (steps of 6e-8) depends on the number of questions in a call."""
GENERATION = IndexGeneration("random", "random", DIMENSION)


class Material:
    """Random unit vectors, and terms as rare as words are (Zipf's law)."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        weights = 1 / np.arange(STOP_WORDS + 1, STOP_WORDS + TERMS + 1)
        self._share = weights / weights.sum()

    def vectors(self, number: int) -> np.ndarray:
        found = self._random.standard_normal((number, DIMENSION)).astype(np.float32)
        unit: np.ndarray = found / np.linalg.norm(found, axis=1, keepdims=True)
        return unit

    def terms(self, number: int) -> dict[int, float]:
        drawn = self._random.choice(TERMS, size=number, p=self._share)
        return {int(term) + 1: float(self._random.uniform(0.5, 2)) for term in drawn}

    def entries(self, start: int, number: int, tenants: int) -> list[IndexEntry]:
        return [
            IndexEntry(
                Passage(
                    id=f"p{row}",
                    document_id=f"d{row // 10}",
                    version="v1",
                    tenant_id=f"t{row % tenants}",
                    owner="",
                    collection="default",
                    language="hr",
                    position=row % 10,
                    title="Naslov",
                    text=TEXT,
                    metadata={"year": 2000 + row % 20},
                ),
                vector,
                self.terms(TERMS_IN_PASSAGE),
            )
            for row, vector in enumerate(self.vectors(number), start)
        ]

    def requests(self, number: int, tenants: int, limit: int) -> list[RetrievalRequest]:
        return [
            RetrievalRequest(
                Scope(f"t{row % tenants}"),
                Embeddings(vector[np.newaxis], GENERATION.embedder),
                self.terms(TERMS_IN_QUESTION),
                "hr",
                limit,
            )
            for row, vector in enumerate(self.vectors(number))
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3, help="questions that each client asks one after another")
    parser.add_argument("--limit", type=int, default=40, help="candidates from each half; the service's default")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rag-bench-") as name:
        one, one_same = asyncio.run(ratios(Path(name) / "one", 1, arguments))
        eight, eight_same = asyncio.run(ratios(Path(name) / "eight", TENANTS, arguments))
    figures = {f"rate_ratio_c{arguments.clients}": one, f"rate_ratio_c{arguments.clients}_tenants{TENANTS}": eight}
    report({**figures, "identical": int(one_same and eight_same), "limit": arguments.limit})


async def ratios(folder: Path, tenants: int, arguments: argparse.Namespace) -> tuple[float, bool]:
    """The median of the repeats' ratios, and whether both ways gave the same answers."""
    config = RetrievalConfig(uri=str(folder / "shared"))
    shared = Retrieval(config)
    alone = Retrieval(RetrievalConfig(uri=str(folder / "alone"), max_questions=1))
    material = Material(seed=tenants)
    found, same = [], True
    try:
        for start in range(0, arguments.rows, config.max_entries):
            number = min(config.max_entries, arguments.rows - start)
            entries = material.entries(start, number, tenants)
            for index in (shared, alone):
                await index.upsert(GENERATION, entries)
        for index in (shared, alone):
            await asked(index, material.requests(arguments.clients, tenants, arguments.limit), arguments.clients)
        for repeat in range(1, arguments.repeats + 1):
            requests = material.requests(arguments.clients * arguments.rounds, tenants, arguments.limit)
            order = (shared, alone) if repeat % 2 else (alone, shared)
            taken = {index: await asked(index, requests, arguments.clients) for index in order}
            rates = [len(requests) / taken[index][0] for index in (shared, alone)]
            found.append(rates[0] / rates[1])
            pairs = zip(taken[shared][1], taken[alone][1], strict=True)
            same = same and all(identical(*pair, arguments.limit) for pair in pairs)
            print(f"{tenants} tenants, repeat {repeat}: {rates[0]:.1f}/s shared, {rates[1]:.1f}/s alone", flush=True)
    finally:
        for index in (shared, alone):
            await asyncio.to_thread(index.__del__)
    return round(statistics.median(found), 2), same


def identical(shared: Sequence[Candidate], alone: Sequence[Candidate], limit: int) -> bool:
    """Whether two answers are one up to rounding: the same passages with the same scores, each answer in their order.
    Only a passage whose cosine is that of the last of its half may be missing in the other."""
    mine, yours = ({candidate.passage.id: candidate for candidate in found} for found in (shared, alone))
    common = [id for id in mine if id in yours]
    scores, others = (np.array([_scores(found[id]) for id in common]) for found in (mine, yours))
    return (
        all(mine[id].passage == yours[id].passage for id in common)
        and np.allclose(scores, others, rtol=0, atol=ROUNDING)
        and all(
            (np.diff([_scores(candidate)[-1] for candidate in found]) <= ROUNDING).all() for found in (shared, alone)
        )
        and _only_at_the_cut(mine, yours, limit)
        and _only_at_the_cut(yours, mine, limit)
    )


def _only_at_the_cut(mine: Mapping[str, Candidate], yours: Mapping[str, Candidate], limit: int) -> bool:
    cosines = np.sort([_scores(candidate)[0] for candidate in yours.values()])[::-1]
    return all(abs(_scores(mine[id])[0] - cosines[limit - 1]) <= ROUNDING for id in mine.keys() - yours.keys())


def _scores(candidate: Candidate) -> tuple[float, float, float]:
    scores = candidate.scores
    assert scores.dense is not None
    assert scores.lexical is not None
    assert scores.fused is not None
    return scores.dense, scores.lexical, scores.fused


async def asked(
    index: Retrieval, requests: Sequence[RetrievalRequest], clients: int
) -> tuple[float, list[list[Candidate]]]:
    """Seconds for all requests, each client sending its next when it has the answer to the one before; the answers."""
    answers: dict[int, list[Candidate]] = {}

    async def client(first: int) -> None:
        for number in range(first, len(requests), clients):
            answers[number] = await index.search(requests[number])

    began = time.perf_counter()
    await asyncio.gather(*map(client, range(clients)))
    return time.perf_counter() - began, [answers[number] for number in range(len(requests))]


if __name__ == "__main__":
    main()
