"""The models that a request may name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deployments.errors import UnknownModel
from serve_app.query.ports import Generator
from serve_app.services.ports import Inference

RAG = "rag"
"""Answers from the caller's documents, with whatever model generates for its tenant."""
_EXTRACTIVE = "extractive"
"""The engine that answers from passages only: it has no model to chat with."""


@dataclass(frozen=True, slots=True)
class ModelCatalogue:
    """`deployed`: the models of the generation deployment, its own and its adapters."""

    generator: Generator
    inference: Inference
    deployed: tuple[str, ...]

    async def chat_models(self) -> tuple[str, ...]:
        """The models that chat without documents: the engine's own first, then its adapters; none for `extractive`."""
        serving = await self.generator.status()
        if serving.engine == _EXTRACTIVE:
            return ()
        adapters = self.deployed if serving.engine == "vllm" else ()
        return tuple(dict.fromkeys((serving.model or serving.engine, *adapters)))

    async def all_models(self) -> tuple[str, ...]:
        """`rag`, the models that chat, the embedder and the reranker, each once."""
        others = (await self.inference.embedder(), await self.inference.reranker())
        return tuple(dict.fromkeys((RAG, *await self.chat_models(), *others)))


def require_model(model: str, available: Sequence[str]) -> None:
    """Raises UnknownModel, which lists the available models."""
    if model not in available:
        raise UnknownModel(
            f"model: there is no {model!r} here; there is {', '.join(map(repr, available))}", field="model"
        )
