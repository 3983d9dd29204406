"""The FastAPI application: routers, and one visible list of what wraps a request."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute
from starlette.types import Scope

from deployments.telemetry.metrics import NO_RECORDER, Recorder
from serve_app.api import errors, web_pages
from serve_app.api.authentication import PRINCIPAL, Authentication
from serve_app.api.compatible import chat, embeddings, models, rerank, responses, text_completion
from serve_app.api.compatible.openai import OPENAI_PATHS
from serve_app.api.json_size import FORMS_AT, JsonSize, is_form
from serve_app.api.middleware import BodyLimit, HeadOfGet, RateLimitHeaders, RefuseHeaders, RequestId
from serve_app.api.openapi import DescribedApi, operation_id
from serve_app.api.refusals import RepeatableRefusals
from serve_app.api.request_records import RequestRecords
from serve_app.api.routes import (
    audit,
    collections,
    commands,
    documents,
    jobs,
    keys,
    operations,
    query,
    query_log,
    reindex,
    retention,
    tenants,
    usage,
)
from serve_app.config.args import ApiConfig
from serve_app.services.container import Services

CARRY_DOCUMENTS = (FORMS_AT, "/v1/commands", "/v1/rpc")
CARRY_TEXTS = ("/v1/embeddings", "/v1/rerank", "/v2/rerank")


def create_app(services: Services, recorder: Recorder = NO_RECORDER) -> FastAPI:
    config = services.config

    app = _described_api(
        [
            Middleware(RequestRecords, recorder=recorder),
            Middleware(RequestId),
            *_cors(config),
            Middleware(RepeatableRefusals),
            Middleware(RefuseHeaders),
            Middleware(HeadOfGet),
            Middleware(Authentication, services=services),
            Middleware(RateLimitHeaders, openai_paths=OPENAI_PATHS),
            Middleware(BodyLimit, limit=partial(body_limit, config), within_s=config.max_body_s),
            Middleware(JsonSize, most=config.max_json_values),
        ]
    )
    app.limits = config
    app.state.services = services
    errors.install(app)
    return app


def _cors(config: ApiConfig) -> list[Middleware]:
    """Lets pages of the configured origins call the API. They send keys as all callers do, and no cookies."""
    if not config.cors_origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=config.cors_origins,
            allow_methods=("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"),
            allow_headers=("*",),
            expose_headers=("*",),
        )
    ]


def body_limit(config: ApiConfig, scope: Scope) -> int:
    """The most bytes that a request's body may have: what its route needs, and what its key may do there."""
    path, holder = scope["path"], scope.get(PRINCIPAL)
    if path in CARRY_TEXTS:
        return config.max_texts_body_bytes
    if path not in CARRY_DOCUMENTS or (holder is not None and holder.role == "query"):
        return config.max_query_body_bytes
    return config.max_body_bytes if is_form(scope) else min(config.max_json_bytes, config.max_body_bytes)


def openapi_document() -> dict[str, Any]:
    """The OpenAPI document, made without the services that answer requests."""
    return _described_api(()).openapi()


def _described_api(middleware: Sequence[Middleware]) -> DescribedApi:
    app = DescribedApi(
        title="RAG service",
        description="Ask questions of your own documents; answers stream with their sources.",
        version="1",
        middleware=middleware,
        docs_url=None,  # FastAPI's own pages load scripts from another server
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
    )
    app.router.routes.extend((*web_pages.ROUTES, *_routes()))
    return app


@cache
def _routes() -> Sequence[BaseRoute]:
    """Made once for all applications: FastAPI takes long to inspect them, and they hold no services."""
    root = APIRouter(generate_unique_id_function=operation_id)
    for resource in (
        query, query_log, usage, documents, reindex, jobs, collections, keys, tenants, audit, retention, commands,
        chat, responses, text_completion, embeddings, models,
    ):  # fmt: skip
        root.include_router(resource.router, prefix="/v1")
    root.include_router(rerank.router)
    root.include_router(operations.router)
    return root.routes
