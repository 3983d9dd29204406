"""Errors → RFC 9457 problem+json, or the form of their path (`error_formats.py`). The only place with HTTP statuses."""

from __future__ import annotations

import difflib
import logging
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from deployments import errors
from serve_app.api import trace_context
from serve_app.api.error_formats import error_format_of
from serve_app.schemas.base import invalid_request

logger = logging.getLogger(__name__)

STATUS: dict[type[errors.RagError], int] = {
    errors.RagError: 500,
    errors.BadInput: 400,
    errors.InvalidRequest: 422,
    errors.InvalidFilter: 422,
    errors.UnknownCollection: 404,
    errors.UnknownModel: 404,
    errors.PromptTooLong: 422,
    errors.EmbedderMismatch: 409,
    errors.DocumentTooLarge: 413,
    errors.BodyTooSlow: 408,
    errors.UnsupportedContent: 415,
    errors.UnsupportedDocument: 415,
    errors.BrokenDocument: 422,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.QuotaExceeded: 403,
    errors.IdempotencyMismatch: 422,
    errors.RangeNotSatisfiable: 416,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.TenantSuspended: 403,
    errors.Unavailable: 503,
    errors.StageUnavailable: 503,
    errors.Overloaded: 503,
    errors.RateLimited: 429,
    errors.RequestInProgress: 409,
    errors.DeadlineExceeded: 504,
    errors.Unreachable: 502,
}
RETRY_AFTER_S = 2
"""Where nobody knows better."""
WITH_RETRY_AFTER = (409, 429, 503)
METHOD_NOT_ALLOWED = "method_not_allowed"
ERROR_CODE = "error_code"
"""Where a request's scope keeps the code of the error that it was answered with."""
_OF_HTTP: dict[int, type[errors.RagError]] = {
    400: errors.BadInput,
    413: errors.DocumentTooLarge,
}
"""What the framework raises by itself, but for 404 and 405."""
_NOT_PARSED = {"There was an error parsing the body": "the body is not JSON in UTF-8"}
_KEPT_BY_OTHERS = ("/v1/responses/", "/v1/chat/completions/")
"""Where OpenAI's API has answers that were given before."""
_MAX_COMPARED_CHARACTERS = 100


def problem(
    request: Request,
    *,
    status: int,
    code: str,
    title: str,
    detail: str,
    retryable: bool,
    retry_after_s: float | None = None,
    field: str | None = None,
    has_route: bool = True,
) -> JSONResponse:
    """The error's answer in the format of the request's path. `field` is what was wrong, where that is known."""
    request.scope[ERROR_CODE] = code
    headers = trace_context.headers_of(request.scope)
    if retryable and status in WITH_RETRY_AFTER:
        headers["Retry-After"] = str(RETRY_AFTER_S if retry_after_s is None else max(1, math.ceil(retry_after_s)))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    body: dict[str, Any] = {
        "type": f"{request.base_url}errors/{code.replace('_', '-')}",
        "title": title,
        "status": status,
        "detail": detail.encode(errors="backslashreplace").decode(),  # it may quote half a surrogate pair
        "code": code,
        "retryable": retryable,
        "request_id": request.scope.get("request_id"),
        "trace_id": trace_context.trace_id_of(request.scope),
    }
    error_format = error_format_of(request.url.path, has_route=has_route)
    return JSONResponse(error_format.body(body, field), error_format.status(status), headers, error_format.media_type)


def log_internal(id_: str | None, error: errors.RagError) -> None:
    """Log what of an error callers are not sent. `id_`: the request's id, or that of its stream or command."""
    if error.internal:
        logger.warning("request %s was answered with an error: %s", id_, error)


def problem_of(request: Request, error: errors.RagError, *, has_route: bool = True) -> JSONResponse:
    log_internal(request.scope.get("request_id"), error)
    return problem(
        request,
        status=STATUS[type(error)],
        code=error.code,
        title=error.title,
        detail=error.message,
        retryable=error.retryable,
        retry_after_s=error.retry_after_s,
        field=error.field,
        has_route=has_route,
    )


def install(app: FastAPI) -> None:
    @app.exception_handler(errors.RagError)
    async def _rag_error(request: Request, error: errors.RagError) -> JSONResponse:
        return problem_of(request, error)

    @app.exception_handler(RequestValidationError)
    async def _validation(request: Request, error: RequestValidationError) -> JSONResponse:
        if (wrong := _wrong_body(request, error.errors()[0])) is not None:
            return problem_of(request, wrong)
        # Without the framework's word for the part of the request, such as `body`, as for any other input.
        issues = [{**issue, "loc": issue["loc"][1:]} for issue in error.errors()]
        return problem_of(request, invalid_request(issues))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 404:  # routes raise NotFound instead
            return problem_of(request, errors.NotFound(_no_route(app, request.url.path)), has_route=False)
        if error.status_code in _OF_HTTP:
            detail = str(error.detail)
            return problem_of(request, _OF_HTTP[error.status_code](_NOT_PARSED.get(detail, detail)))
        status = HTTPStatus(error.status_code)
        allowed = ", ".join(sorted(_methods(app, request)))
        answer = problem(
            request,
            status=status,
            code=status.name.lower(),
            title=status.phrase,
            detail=f"{error.detail}; {request.url.path} knows {allowed}" if status == 405 else str(error.detail),
            retryable=False,
        )
        answer.headers.update({**(error.headers or {}), **({"Allow": allowed} if status == 405 else {})})
        return answer

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, error: Exception) -> JSONResponse:
        logger.error("request %s failed", request.scope.get("request_id"), exc_info=error)
        return problem_of(request, errors.RagError("an unexpected error; the service's log has the details"))


def _wrong_body(request: Request, issue: Mapping[str, Any]) -> errors.RagError | None:
    """The error of a body that is no JSON object at all; None if something in it is wrong."""
    if issue["type"] == "json_invalid":
        return errors.InvalidRequest(f"the body is not JSON: {issue['ctx']['error']} at character {issue['loc'][-1]}")
    if tuple(issue["loc"]) != ("body",):
        return None
    if issue["type"] == "missing":
        return errors.InvalidRequest("the body is empty; send a JSON object")
    if isinstance(issue["input"], bytes):  # the framework parses only what is declared to be JSON
        kind = request.headers.get("content-type", "")[:100]
        return errors.UnsupportedContent(f"Content-Type is {kind or 'missing'}; send application/json")
    return None


def _no_route(app: FastAPI, path: str) -> str:
    """That there is no route at the path, and where the caller may have meant to go."""
    routes = [route.path for route in app.routes if isinstance(route, Route)]
    near = difflib.get_close_matches(path[:_MAX_COMPARED_CHARACTERS], routes, n=1, cutoff=0.75)
    hint = f"did you mean {near[0]}?" if near else "GET /openapi.json lists all paths"
    if path.startswith(_KEPT_BY_OTHERS) and path not in _KEPT_BY_OTHERS:
        hint = "answers are not kept. DELETE /v1/query/{query_id} stops one that is under way"
    return f"there is no path {path[:_MAX_COMPARED_CHARACTERS]!r} here; {hint}"


def _methods(app: FastAPI, request: Request) -> set[str]:
    """What the routes of a path allow together; the framework asks the first of them only. Where a path is also another
    route's whose parameter takes slashes, it is the first one's."""
    matching = [
        route for route in app.routes if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
    ]
    of_path = [route.methods or set() for route in matching if route.path == matching[0].path]
    methods = set[str]().union(*of_path)
    return methods | {"HEAD"} if "GET" in methods else methods
