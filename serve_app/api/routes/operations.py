"""Is it alive, is it ready, and what serves; and what an error code means."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Response
from fastapi.responses import PlainTextResponse

from deployments import errors
from serve_app.api.dependencies import Platform, ServicesDep
from serve_app.api.errors import METHOD_NOT_ALLOWED, RETRY_AFTER_S, STATUS
from serve_app.api.openapi import describe_errors, describe_response
from serve_app.schemas.operations import Alive, DeepHealth, DescribedError, Readiness

router = APIRouter(tags=["operations"])
Slug = Annotated[str, Path(max_length=64, examples=["document-too-large"])]


METRICS_TYPE = "text/plain; version=0.0.4"
_METRICS = {
    "text/plain": {
        "schema": {"type": "string"},
        "example": 'ray_rag_questions_total{outcome="stop",engine="vllm"} 42.0\n',
    }
}
_STAGE = {"ready": True, "engine": "vllm", "model": "Qwen/Qwen3-8B", "replicas": 2, "detail": None}
_DESCRIBED = {"code": "document_too_large", "title": "Document too large", "status": 413, "retryable": False}
_CHECKED = {"healthy": True, "milliseconds": 12.5, "error": None, "detail": None}
_BROKEN = {
    "healthy": False,
    "milliseconds": 40.1,
    "error": "stage_unavailable",
    "detail": "retrieval: the Milvus server does not answer",
}
_GONE = {"ready": False, "engine": None, "model": None, "replicas": 0, "detail": "no replica answers"}


# As vLLM's servers have it: guidellm asks there before it begins.
@router.get("/health", response_model=Alive, include_in_schema=False)
@router.get("/healthz", response_model=Alive, responses={200: describe_response(example={"alive": True})})
async def alive() -> Alive:
    """Whether the ingress answers. It says nothing of the other stages."""
    return Alive(alive=True)


@router.get(
    "/readyz",
    response_model=Readiness,
    responses={
        200: describe_response(example={"ready": True, "stages": {"generation": _STAGE}}),
        503: describe_response(
            "Retry-After",
            model=Readiness,
            description="A stage is not ready",
            example={"ready": False, "stages": {"generation": _GONE}},
        ),
    },
)
async def ready(services: ServicesDep, response: Response) -> Readiness:
    """Each stage's state and what serves it. 503 until every stage has a ready replica."""
    readiness = Readiness.of(await services.ask_stages())
    if not readiness.ready:
        response.status_code = 503
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return readiness


@router.get(
    "/v1/health/deep",
    response_model=DeepHealth,
    responses={
        200: describe_response(example={"healthy": True, "stages": {"retrieval": _CHECKED}}),
        503: describe_response(
            "Retry-After",
            model=DeepHealth,
            description="A stage did not answer",
            example={"healthy": False, "stages": {"retrieval": _BROKEN}},
        ),
        **describe_errors(errors.Unauthenticated, errors.Forbidden),
    },
)
async def deep_health(services: ServicesDep, response: Response, _platform: Platform) -> DeepHealth:
    """Asks the stages of an answer a question, and says how each did. For a platform key. No tenant's documents are
    searched, and nothing is logged or counted as a tenant's. Calls within a second share one question."""
    health = await services.ask_canary()
    if not health.healthy:
        response.status_code = 503
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return health


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={
        200: describe_response(description="Metrics in Prometheus' text format", content=_METRICS),
        **describe_errors(errors.Unauthenticated, errors.Forbidden, errors.StageUnavailable),
    },
)
async def metrics(services: ServicesDep, _platform: Platform) -> PlainTextResponse:
    """The metrics of all replicas on all nodes, for a platform key. Ray's own exporters have the cluster's besides."""
    return PlainTextResponse(await services.read_metrics(), media_type=METRICS_TYPE)


@router.get(
    "/errors/{slug}",
    response_model=DescribedError,
    responses={200: describe_response(example=_DESCRIBED), **describe_errors(errors.NotFound)},
)
async def describe_error(slug: Slug) -> DescribedError:
    """The description of an error, to which the `type` of a problem points."""
    for error in STATUS:
        if error.code.replace("_", "-") == slug:
            return DescribedError(code=error.code, title=error.title, status=STATUS[error], retryable=error.retryable)
    if slug == METHOD_NOT_ALLOWED.replace("_", "-"):
        refused = HTTPStatus.METHOD_NOT_ALLOWED
        return DescribedError(code=METHOD_NOT_ALLOWED, title=refused.phrase, status=int(refused), retryable=False)
    raise errors.NotFound(f"there is no error named {slug}")
