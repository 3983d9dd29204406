"""Asks a question that no caller asked, of every stage that answers take part in."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable
from contextlib import aclosing
from typing import Final, TypeVar

import numpy as np

from deployments.errors import DeadlineExceeded, RagError
from deployments.types import Embeddings, Message, RetrievalRequest, Scope, VisibleVersions
from serve_app.query.pipeline import Pipeline
from serve_app.query.request import Query
from serve_app.schemas.operations import CheckedStage, DeepHealth
from serve_app.services.ports import Inference
from serve_app.storage.declarative import PLATFORM

T = TypeVar("T")
QUESTION: Final = "Is everything all right?"
_TERMS: Final = {1: 1.0}
"""Terms to search by where there is no vector."""
_TENANT: Final = PLATFORM
"""It has no documents, so nothing of any tenant is read."""
logger = logging.getLogger(__name__)


class Canary:
    """`stage_s`: how long a stage may take. The question waits for no slot in generation: the engine takes it as one
    more, or is full."""

    def __init__(self, pipeline: Pipeline, inference: Inference, *, stage_s: float) -> None:
        self._pipeline = pipeline
        self._inference = inference
        self._stage_s = stage_s

    async def ask(self) -> DeepHealth:
        """How each stage did. One that fails keeps no other from being asked. Never raises."""
        checks: dict[str, CheckedStage] = {}
        reranking = asyncio.ensure_future(self._ask(checks, "reranking", self._inference.score(QUESTION, [QUESTION])))
        generation = asyncio.ensure_future(self._ask(checks, "generation", self._generate()))
        dense = await self._ask(checks, "embedding", self._pipeline.embedder.embed_query(QUESTION))
        visible = await self._ask(checks, "database", self._pipeline.visibility.visible_versions(_TENANT))
        await self._ask(checks, "retrieval", self._pipeline.retriever.retrieve(_request(dense, visible)))
        await asyncio.gather(reranking, generation)
        return DeepHealth(healthy=all(check.healthy for check in checks.values()), stages=checks)

    async def _ask(self, checks: dict[str, CheckedStage], stage: str, work: Awaitable[T]) -> T | None:
        began, error, detail, answer = time.perf_counter(), None, None, None
        try:
            async with asyncio.timeout(self._stage_s):
                answer = await work
        except TimeoutError:
            error, detail = DeadlineExceeded.code, f"{stage} took longer than {self._stage_s:g} s (api.first_token_s)"
        except RagError as failed:
            error, detail = failed.code, failed.message
        except Exception:
            logger.exception("%s failed on the question of /v1/health/deep", stage)
            error, detail = RagError.code, f"{stage}: an unexpected error; the ingress replica's log has it"
        took_ms = round(1_000 * (time.perf_counter() - began), 1)
        checks[stage] = CheckedStage(healthy=error is None, milliseconds=took_ms, error=error, detail=detail)
        return answer

    async def _generate(self) -> None:
        query = Query(
            id=uuid.uuid4().hex,
            text=QUESTION,
            language="en",
            scope=Scope(_TENANT),
            top_k=0,
            candidates=0,
            max_tokens=1,
            deadline_s=self._stage_s,
            first_token_s=self._stage_s,
        )
        async with aclosing(self._pipeline.chat(query, [Message("user", QUESTION)])) as events:
            async for _ in events:
                pass


def _request(dense: Embeddings | None, visible: VisibleVersions | None) -> RetrievalRequest:
    """The search of a question. Without a vector it is for terms alone."""
    live = visible.generation.embedder if visible is not None and visible.generation is not None else ""
    if dense is None or live not in ("", dense.fingerprint):
        dense = Embeddings(np.zeros((0, 0), np.float32), live)
    return RetrievalRequest(Scope(_TENANT, visible=visible), dense, _TERMS, "en", 1)
