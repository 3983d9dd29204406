"""Whole questions to the embedded default, whose index has one tenant with many passages.

The service takes in one document as users do, so that everything is as it makes it. Then it is stopped, and the other
passages are written to its index and its terms to its database, without embedding a year of the gazette. The questions
are of words whose terms the passages have; the embedder, SQL, the index and late interaction do their whole work.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sqlalchemy import select

from benchmarks.capacity_material import (
    COLLECTIONS,
    HIDDEN_EVERY,
    PASSAGES_IN_DOCUMENT,
    TERMS,
    USERS,
    Material,
    version,
)
from benchmarks.service import Service, running
from deployments.lexical import query_term_ids
from deployments.retrieval.config import RetrievalConfig
from deployments.retrieval.deployment import Retrieval
from deployments.types import IndexEntry, IndexGeneration
from rag.cli.configs import LOCAL_CONFIG, load_config
from serve_app.platform.lexical_statistics import move
from serve_app.storage.database import Database
from serve_app.storage.tables import HiddenVersion, StoredGeneration

TENANT = "default"
QUESTION_WORDS = 10
WARM_UP = 10
START_S = 600.0
_SYLLABLES = tuple(f"{consonant}{vowel}" for consonant in "bdgklmnprstvz" for vowel in "aeiou")


def whole_questions(folder: Path, passages: int, questions: int) -> dict[str, float]:
    """The figures of `questions` questions, one after the other, with so many passages of one tenant."""
    words = [word(number) for number in range(TERMS)]
    material = Material(1, np.array([query_term_ids(each, "hr")[0] for each in words], np.uint32))
    with running("--no-corpus", data_dir=folder) as service:
        service.wait_ready(START_S)
        for collection in COLLECTIONS:
            hand_in_one(service, collection)
    asyncio.run(fill(folder, material, passages))
    draw = random.Random(1)
    with running("--no-corpus", data_dir=folder) as service:
        service.wait_ready(START_S)
        texts = [
            "Koji je " + " ".join(words[place] for place in material.term_places(QUESTION_WORDS)) + "?"
            for _ in range(WARM_UP + questions)
        ]
        milliseconds = [ask(service, text, f"user-{draw.randrange(USERS)}") for text in texts]
    p50, p95 = np.quantile(milliseconds[WARM_UP:], [0.5, 0.95])
    return {"sources_ms_p50": round(float(p50), 1), "sources_ms_p95": round(float(p95), 1)}


def word(number: int) -> str:
    """A made-up word of four syllables, another one for each number."""
    syllables = []
    for _ in range(4):
        number, rest = divmod(number, len(_SYLLABLES))
        syllables.append(_SYLLABLES[rest])
    return "".join(syllables) + "k"


def hand_in_one(service: Service, collection: str) -> None:
    """The collection is there afterwards."""
    with service.client() as client:
        document = {
            "id": f"{collection}-1",
            "language": "hr",
            "collection": collection,
            "text": "Rok je petnaest dana.",
        }
        job = client.post("/v1/documents", json=document).raise_for_status().headers["location"]
        while (state := client.get(job).raise_for_status().json()["state"]) in ("queued", "running"):
            time.sleep(0.1)
    if state != "succeeded":
        raise RuntimeError(f"the first document ended as {state}")


async def fill(folder: Path, material: Material, passages: int) -> None:
    """Write passages to the index of a stopped service, and what its questions read of them to its database."""
    args = load_config(LOCAL_CONFIG, folder).args.resolved()
    database = Database(args.store)
    try:
        async with database.session() as session:
            live = (await session.scalars(select(StoredGeneration).where(StoredGeneration.state == "live"))).one()
            generation = IndexGeneration(live.name, live.embedder, live.dimension)
        frequencies = await written(args.retrieval, generation, material, passages)
        hidden = [version(number) for number in range(0, passages // PASSAGES_IN_DOCUMENT, HIDDEN_EVERY)]
        due = datetime.now(UTC) + timedelta(days=1)
        async with database.transaction() as session:
            await move(session, TENANT, "", passages=passages, terms=frequencies)
            session.add_all(
                HiddenVersion(tenant_id=TENANT, version=name, document_id="hidden", due=due) for name in hidden
            )
    finally:
        await database.close()


async def written(
    config: RetrievalConfig, generation: IndexGeneration, material: Material, passages: int
) -> dict[int, int]:
    """The passages are in the index; how many of them have each term."""
    counted: dict[int, int] = {}
    index = Retrieval(config)
    try:
        for entries in material.batches(TENANT, passages):
            await index.upsert(generation, entries)
            for term, count in zip(*document_frequencies(entries), strict=True):
                counted[term] = counted.get(term, 0) + count
    finally:
        index.__del__()
    return counted


def document_frequencies(entries: Sequence[IndexEntry]) -> tuple[list[int], list[int]]:
    terms: npt.NDArray[np.int64] = np.fromiter((term for entry in entries for term in entry.lexical), np.int64)
    found, counts = np.unique(terms, return_counts=True)
    return found.tolist(), counts.tolist()


def ask(service: Service, question: str, user_id: str) -> float:
    """Milliseconds until a question's sources; its answer is read to the end."""
    body = {"query": question, "language": "hr", "collections": list(COLLECTIONS[:3]), "user": user_id}
    sources_ms = None
    with service.client() as client:
        began = time.perf_counter()
        with client.stream("POST", "/v1/query", json=body) as answer:
            if answer.status_code != 200:
                raise RuntimeError(f"{answer.status_code} {answer.read().decode()}")
            for line in answer.iter_lines():
                if sources_ms is None and line == "event: sources":
                    sources_ms = (time.perf_counter() - began) * 1000
                elif line.startswith("data: ") and json.loads(line[6:]).get("type") == "error":
                    raise RuntimeError(line)
    if sources_ms is None:
        raise RuntimeError("no sources came")
    return sources_ms
