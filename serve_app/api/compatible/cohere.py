"""Reranking as Cohere's API has it, its first version and its second, and the form of its errors.

Written from its OpenAPI document, https://github.com/cohere-ai/cohere-developer-experience (cohere-openapi.yaml, paths
/v1/rerank and /v2/rerank). Jina's and other services' /v1/rerank take the same fields.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from serve_app.api.compatible.base import ForeignRequest
from serve_app.api.error_formats import ErrorFormat, ProblemMembers, register_error_format
from serve_app.schemas.base import ResponseModel, Text, Whole

_MODEL = "the reranker's id: see /v1/models"
_TOP_N = "results to give; by default all"
_WHOLE = "has no effect: documents are read whole, in as many pieces as it takes"
Query = Annotated[Text, Field(min_length=1, examples=["Koji je rok za žalbu?"])]
TopN = Annotated[Whole | None, Field(ge=1, description=_TOP_N)]
ReturnDocuments = Annotated[bool | None, Field(description="true: each result has its document")]


def _document(value: Any) -> Any:
    """A text as the object that it stands for."""
    if isinstance(value, str):
        return {"text": value}
    if not isinstance(value, dict) or not isinstance(value.get("text"), str):
        raise PydanticCustomError("no_text", "send a string, or an object with a text")
    return value


_FIELDS = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "additionalProperties": {"type": "string"},
    "required": ["text"],
}
Document = Annotated[
    dict[Text, Text],
    BeforeValidator(_document),
    WithJsonSchema({"anyOf": [{"type": "string"}, _FIELDS]}),
]


class RerankV1Request(ForeignRequest):
    query: Query
    documents: tuple[Document, ...] = Field(min_length=1, examples=[["Rok je 15 dana.", {"text": "Pristojba."}]])
    model: Text | None = Field(None, max_length=512, description=f"{_MODEL}; it need not be named")
    top_n: TopN = None
    return_documents: ReturnDocuments = None
    rank_fields: Annotated[tuple[Literal["text"], ...], Field(min_length=1, max_length=1)] | None = Field(
        None, description="only text is read"
    )
    max_chunks_per_doc: Whole | None = Field(None, ge=1, description=_WHOLE)


class RerankV2Request(ForeignRequest):
    model: Text = Field(max_length=512, description=_MODEL, examples=["BAAI/bge-reranker-v2-m3"])
    query: Query
    documents: tuple[Text, ...] = Field(min_length=1, examples=[["Rok je 15 dana.", "Pristojba se plaća."]])
    top_n: TopN = None
    return_documents: ReturnDocuments = None
    max_tokens_per_doc: Whole | None = Field(None, ge=1, description=_WHOLE)
    priority: Whole | None = Field(None, ge=0, le=999, description="has no effect")


class ApiVersion(ResponseModel):
    version: Literal["1", "2"]


class BilledUnits(ResponseModel):
    search_units: int = Field(description="one for each hundred documents that were begun")


class Meta(ResponseModel):
    api_version: ApiVersion
    billed_units: BilledUnits


class Ranked(ResponseModel):
    """`index` is the document's place in the request, from 0."""

    index: int
    relevance_score: float = Field(ge=0, le=1)
    document: dict[str, str] | None = Field(None, description="with return_documents")


class RerankAnswer(ResponseModel):
    id: str
    results: list[Ranked]
    meta: Meta


class CohereError(ResponseModel):
    """An error as Cohere's API has it."""

    id: str = Field(description="the request's id")
    message: str = Field(description="what was wrong this time, and what to do")


def _error_body(problem: ProblemMembers, field: str | None) -> dict[str, Any]:
    return {"id": problem["request_id"] or "", "message": problem["detail"]}


COHERE_ERRORS = register_error_format(
    ErrorFormat("application/json", CohereError, _error_body, 400), "/v1/rerank", "/v2"
)
