"""POST /v1/rerank and /v2/rerank: the reranker's own scores of given texts."""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from typing import Any, Literal

from fastapi import APIRouter

from deployments import errors
from serve_app.api.compatible.cohere import RerankV1Answer, RerankV1Request, RerankV2Answer, RerankV2Request
from serve_app.api.dependencies import Asker, DeadlineSeconds, ServicesDep
from serve_app.api.openapi import describe_errors, describe_response
from serve_app.query.deadline import Deadline
from serve_app.services.access import Access
from serve_app.services.container import Services
from serve_app.services.models import require_model

DOCUMENTS_A_UNIT = 100
router = APIRouter(tags=["cohere"])
_REFUSED = describe_errors(errors.UnknownModel, errors.StageUnavailable, errors.Overloaded, errors.DeadlineExceeded)

_EXAMPLE_ID = "0b3f6a5c-9d7e-4f1c-8a2b-6d5e4f3a2b1c"


def _answer(
    version: Literal["1", "2"], results: list[dict[str, Any]], documents: int, answer_id: str
) -> dict[str, Any]:
    return {
        "id": answer_id,
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
        200: describe_response(
            example=_answer(
                "1", [{"index": 0, "relevance_score": 0.83, "document": {"text": "Rok je 15 dana."}}], 2, _EXAMPLE_ID
            )
        ),
        **_REFUSED,
    },
)
async def first_version(
    body: RerankV1Request, services: ServicesDep, caller: Asker, deadline_s: DeadlineSeconds
) -> dict[str, Any]:
    """Order texts by their relevance to a query, as with the first version of Cohere's API."""
    texts = [document["text"] for document in body.documents]
    results = await _ranked(services, caller, body.model, body.query, texts, body.top_n, deadline_s)
    if body.return_documents:
        for result in results:
            result["document"] = body.documents[result["index"]]
    return _answer("1", results, len(texts), str(uuid.uuid4()))


@router.post(
    "/v2/rerank",
    response_model=RerankV2Answer,
    responses={
        200: describe_response(example=_answer("2", [{"index": 0, "relevance_score": 0.83}], 2, _EXAMPLE_ID)),
        **_REFUSED,
    },
)
async def second_version(
    body: RerankV2Request, services: ServicesDep, caller: Asker, deadline_s: DeadlineSeconds
) -> dict[str, Any]:
    """Order texts by their relevance to a query, as with the second version of Cohere's API."""
    results = await _ranked(services, caller, body.model, body.query, body.documents, body.top_n, deadline_s)
    return _answer("2", results, len(body.documents), str(uuid.uuid4()))


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
    services.limits.check_query_length(query, field="query")
    services.limits.check_texts(texts, field="documents")
    deadline = Deadline(services.limits.cap_deadline(deadline_s, caller.tenant.settings.limits))
    if model is not None:
        require_model(model, (await deadline.wait("reranking", services.inference.reranker()),))
    scores = await deadline.wait("reranking", services.inference.score(query, texts))
    order = sorted(range(len(texts)), key=lambda at: -scores[at])
    return [{"index": at, "relevance_score": min(max(scores[at], 0.0), 1.0)} for at in order[:top_n]]
