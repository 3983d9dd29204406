"""Which models there are to name in a request."""

from __future__ import annotations

from collections.abc import Sequence

from deployments.errors import UnknownModel
from serve_app.services.container import Services

RAG = "rag"
"""Answers from the caller's documents, with whatever model generates for its tenant."""
SPEAKS_ONLY_FROM_PASSAGES = "extractive"


async def raw(services: Services) -> tuple[str, ...]:
    """The models that chat without documents: the one that serves, first, and its adapters; none where the engine is
    not a model."""
    serving = await services.pipeline.generate.status()
    if serving.engine == SPEAKS_ONLY_FROM_PASSAGES:
        return ()
    adapters = services.models if serving.engine == "vllm" else ()
    return tuple(dict.fromkeys((serving.model or serving.engine, *adapters)))


async def everything(services: Services) -> tuple[str, ...]:
    inference = services.inference
    others = (await inference.embedder(), await inference.reranker())
    return tuple(dict.fromkeys((RAG, *await raw(services), *others)))


def require(model: str, there: Sequence[str]) -> None:
    """Raises UnknownModel, which lists what there is."""
    if model not in there:
        raise UnknownModel(f"model: there is no {model!r} here; there is {', '.join(map(repr, there))}")
