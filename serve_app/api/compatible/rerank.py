"""POST /v1/rerank and /v2/rerank: the reranker's own scores of given texts."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from fastapi import APIRouter

from deployments import errors
from serve_app.api.compatible.cohere import RerankAnswer, RerankV1Request, RerankV2Request
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
    response_model=RerankAnswer,
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
    return await _ranked("1", body, body.documents, services, caller, deadline_s)


@router.post(
    "/v2/rerank",
    response_model=RerankAnswer,
    response_model_exclude_unset=True,
    responses={
        200: describe_response(example=_answer("2", [{"index": 0, "relevance_score": 0.83}], 2, _EXAMPLE_ID)),
        **_REFUSED,
    },
)
async def second_version(
    body: RerankV2Request, services: ServicesDep, caller: Asker, deadline_s: DeadlineSeconds
) -> dict[str, Any]:
    """Order texts by their relevance to a query, as with the second version of Cohere's API."""
    return await _ranked("2", body, [{"text": text} for text in body.documents], services, caller, deadline_s)


async def _ranked(
    version: Literal["1", "2"],
    body: RerankV1Request | RerankV2Request,
    documents: Sequence[Mapping[str, str]],
    services: Services,
    caller: Access,
    deadline_s: float,
) -> dict[str, Any]:
    """Best first; equal ones keep their order. Raises InvalidRequest, UnknownModel."""
    texts = [document["text"] for document in documents]
    services.limits.check_query_length(body.query, field="query")
    services.limits.check_texts(texts, field="documents")
    deadline = Deadline(services.limits.cap_deadline(deadline_s, caller.tenant.settings.limits))
    if body.model is not None:
        require_model(body.model, (await deadline.wait("reranking", services.inference.reranker()),))
    scores = await deadline.wait("reranking", services.inference.score(body.query, texts))
    order = sorted(range(len(texts)), key=lambda at: -scores[at])
    results: list[dict[str, Any]] = [
        {"index": at, "relevance_score": min(max(scores[at], 0.0), 1.0)} for at in order[: body.top_n]
    ]
    if body.return_documents:
        for result in results:
            result["document"] = documents[result["index"]]
    return _answer(version, results, len(texts), str(uuid.uuid4()))
