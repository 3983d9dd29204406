"""The FastAPI application: routers, and one visible list of what wraps a request."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from serve_app.api import errors
from serve_app.api.authentication import Authentication
from serve_app.api.compatible import chat, embeddings, models, rerank
from serve_app.api.middleware import BodyLimit, RateLimitHeaders, RefuseServeHeaders, RequestId
from serve_app.api.openapi import DescribedApi, operation_id
from serve_app.api.routes import (
    audit,
    collections,
    commands,
    documents,
    jobs,
    keys,
    operations,
    query,
    reindex,
    tenants,
)
from serve_app.services.container import Services

CARRY_DOCUMENTS = ("/v1/documents", "/v1/commands", "/v1/rpc")
CARRY_TEXTS = ("/v1/embeddings", "/v1/rerank", "/v2/rerank")


def create_app(services: Services) -> FastAPI:
    config = services.config

    def body_limit(path: str) -> int:
        if path in CARRY_DOCUMENTS:
            return config.max_body_bytes
        return config.max_texts_body_bytes if path in CARRY_TEXTS else config.max_query_body_bytes

    app = _described_api(
        [
            Middleware(RequestId),
            Middleware(RefuseServeHeaders),
            Middleware(Authentication, services=services),
            Middleware(RateLimitHeaders),
            Middleware(BodyLimit, limit=body_limit, within_s=config.max_body_s),
        ]
    )
    app.state.services = services
    errors.install(app)
    return app


def openapi_document() -> dict[str, Any]:
    """The OpenAPI document, made without the services that answer requests."""
    return _described_api(()).openapi()


def _described_api(middleware: Sequence[Middleware]) -> DescribedApi:
    app = DescribedApi(
        title="RAG service",
        description="Ask questions of your own documents; answers stream with their sources.",
        version="1",
        middleware=middleware,
        redirect_slashes=False,
        separate_input_output_schemas=False,
    )
    app.router.routes.extend(_routes())
    return app


@cache
def _routes() -> Sequence[BaseRoute]:
    """Made once for all applications: FastAPI takes long to inspect them, and they hold no services."""
    root = APIRouter(generate_unique_id_function=operation_id)
    for resource in (
        query, documents, reindex, jobs, collections, keys, tenants, audit, commands, chat, embeddings, models,
    ):  # fmt: skip
        root.include_router(resource.router, prefix="/v1")
    root.include_router(rerank.router)
    root.include_router(operations.router)
    return root.routes
