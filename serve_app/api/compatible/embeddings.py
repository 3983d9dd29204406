"""POST /embeddings: the vectors that documents and questions are compared by."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from fastapi import APIRouter
from starlette.responses import Response

from deployments import errors
from deployments.errors import InvalidRequest
from deployments.types import Matrix, TextKind
from serve_app.api.compatible.openai import Embedding, EmbeddingsAnswer, EmbeddingsRequest, EmbeddingsUsage
from serve_app.api.dependencies import Asker, DeadlineSeconds, ServicesDep
from serve_app.api.openapi import describe_errors, describe_response
from serve_app.query.deadline import Deadline
from serve_app.services.container import Services
from serve_app.services.models import require_model

TEXTS_A_CALL = 256
"""Of the embedding stage: others' texts come between two calls."""
router = APIRouter(tags=["openai"])
_ANSWER = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.6, -0.8]}],
    "model": "multilingual-e5-small",
    "usage": {"prompt_tokens": 12, "total_tokens": 12},
}


@router.post(
    "/embeddings",
    response_model=EmbeddingsAnswer,
    responses={
        200: describe_response(example=_ANSWER),
        **describe_errors(errors.UnknownModel, errors.StageUnavailable, errors.Overloaded, errors.DeadlineExceeded),
    },
)
async def embed(body: EmbeddingsRequest, services: ServicesDep, caller: Asker, deadline_s: DeadlineSeconds) -> Response:
    """Embed texts as with OpenAI's API, as passages unless `input_type` says that they are queries."""
    services.limits.check_texts(body.input, field="input")
    deadline = Deadline(services.limits.cap_deadline(deadline_s, caller.tenant.settings.limits))
    embedder = await deadline.wait("embedding", services.inference.embedder())
    require_model(body.model, (embedder,))
    vectors, tokens = await _embedded(services, body.input, body.input_type or "passage", deadline)
    if body.dimensions is not None:
        vectors = _first(vectors, body.dimensions)
    if body.encoding_format == "base64":
        shown: list[Any] = [base64.b64encode(vector.astype("<f4").tobytes()).decode() for vector in vectors]
    else:
        shown = vectors.tolist()
    answer = EmbeddingsAnswer(
        object="list",
        data=[Embedding(object="embedding", index=at, embedding=embedding) for at, embedding in enumerate(shown)],
        model=embedder,
        usage=EmbeddingsUsage(prompt_tokens=tokens, total_tokens=tokens),
    )
    # By pydantic: json.dumps takes a second for thousands of numbers, and blocks the event loop.
    return Response(answer.model_dump_json(), media_type="application/json")


async def _embedded(
    services: Services, texts: tuple[str, ...], kind: TextKind, deadline: Deadline
) -> tuple[Matrix, int]:
    """Vectors in the order of the texts, and the tokens that the embedder read."""
    parts, tokens = [], 0
    for start in range(0, len(texts), TEXTS_A_CALL):
        part = texts[start : start + TEXTS_A_CALL]
        tokens += sum(await deadline.wait("embedding", services.inference.embedding_tokens(part, kind)))
        parts.append((await deadline.wait("embedding", services.inference.embed(part, kind))).vectors)
    return np.concatenate(parts), tokens


def _first(vectors: Matrix, dimensions: int) -> Matrix:
    """Raises InvalidRequest for more than there are."""
    if dimensions > vectors.shape[1]:
        raise InvalidRequest(
            f"dimensions is {dimensions}; this model's vectors have {vectors.shape[1]}", field="dimensions"
        )
    cut = vectors[:, :dimensions]
    unit: Matrix = cut / np.maximum(np.linalg.norm(cut, axis=1, keepdims=True), np.float32(1e-12))
    return unit
