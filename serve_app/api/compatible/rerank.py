"""POST /v1/rerank and /v2/rerank: the reranker's own scores of given texts."""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from typing import Any, Literal

from fastapi import APIRouter

from deployments import errors
from deployments.errors import InvalidRequest
from serve_app.api.compatible import catalogue
from serve_app.api.compatible.cohere import RerankV1Answer, RerankV1Request, RerankV2Answer, RerankV2Request
from serve_app.api.dependencies import Asker, DeadlineSeconds, Serving
from serve_app.api.openapi import answers, refusals
from serve_app.query.deadline import Deadline
from serve_app.services import limits as bounds
from serve_app.services.container import Access, Services

DOCUMENTS_A_UNIT = 100
router = APIRouter(tags=["cohere"])
_REFUSED = refusals(errors.UnknownModel, errors.StageUnavailable, errors.Overloaded, errors.DeadlineExceeded)


def _answer(version: Literal["1", "2"], results: list[dict[str, Any]], documents: int) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()),
        "results": results,
        "meta": {
            "api_version": {"version": version},
            "billed_units": {"search_units": math.ceil(documents / DOCUMENTS_A_UNIT)},
        },
    }


@router.post(
    "/v1/rerank",
    response_model=RerankV1Answer,
    response_model_exclude_unset=True,
    responses={
        200: answers(
            example=_answer("1", [{"index": 0, "relevance_score": 0.83, "document": {"text": "Rok je 15 dana."}}], 2)
        ),
        **_REFUSED,
    },
)
async def first_version(
    body: RerankV1Request, serving: Serving, caller: Asker, deadline_s: DeadlineSeconds
) -> dict[str, Any]:
    """Order texts by their relevance to a query, as with the first version of Cohere's API."""
    texts = [document["text"] for document in body.documents]
    results = await _ranked(serving, caller, body.model, body.query, texts, body.top_n, deadline_s)
    if body.return_documents:
        for result in results:
            result["document"] = body.documents[result["index"]]
    return _answer("1", results, len(texts))


@router.post(
    "/v2/rerank",
    response_model=RerankV2Answer,
    responses={200: answers(example=_answer("2", [{"index": 0, "relevance_score": 0.83}], 2)), **_REFUSED},
)
async def second_version(
    body: RerankV2Request, serving: Serving, caller: Asker, deadline_s: DeadlineSeconds
) -> dict[str, Any]:
    """Order texts by their relevance to a query, as with the second version of Cohere's API."""
    results = await _ranked(serving, caller, body.model, body.query, body.documents, body.top_n, deadline_s)
    return _answer("2", results, len(body.documents))


async def _ranked(
    services: Services,
    caller: Access,
    model: str | None,
    query: str,
    texts: Sequence[str],
    top_n: int | None,
    deadline_s: float,
) -> list[dict[str, Any]]:
    """Best first; equal ones keep their order. Raises InvalidRequest, UnknownModel."""
    limits = services.limits
    if len(query) > limits.max_query_characters:
        raise InvalidRequest(f"query has {len(query)} characters; at most {limits.max_query_characters} are allowed")
    bounds.texts(limits, "documents", texts)
    deadline = Deadline(bounds.deadline(caller.tenant.settings.limits, deadline_s))
    if model is not None:
        catalogue.require(model, (await deadline.wait("reranking", services.inference.reranker()),))
    scores = await deadline.wait("reranking", services.inference.score(query, texts))
    order = sorted(range(len(texts)), key=lambda at: -scores[at])
    return [{"index": at, "relevance_score": min(max(scores[at], 0.0), 1.0)} for at in order[:top_n]]
