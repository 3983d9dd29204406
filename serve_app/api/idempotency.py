"""Routes that create: with an Idempotency-Key, the same request twice is one, and has one answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from deployments.errors import InvalidRequest
from serve_app.api.authentication import PRINCIPAL, bearer
from serve_app.api.dependencies import get_services
from serve_app.platform.idempotency import Answer, Claim
from serve_app.platform.keys import Principal

HEADER = "Idempotency-Key"
MAX_KEY = 255
REPLAYED = "Idempotent-Replayed"
_KEPT_HEADERS = ("content-type", "location")


class Unkept(Response):
    """An answer that tells of a failure under a good status: the next request with its key is worked on."""


class CreatingRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def once(request: Request) -> Response:
            key = request.headers.get(HEADER)
            if key is None or request.method != "POST":
                return await handle(request)
            if not 1 <= len(key) <= MAX_KEY:
                raise InvalidRequest(f"{HEADER} must have 1 to {MAX_KEY} characters")
            services = await get_services(request)
            principal: Principal = request.scope[PRINCIPAL]
            if principal.role != "platform":
                await services.tenants.active(principal.tenant_id)  # a kept answer, too, is for tenants that may work
            begun = await services.idempotency.begin(
                principal.tenant_id, key, await _fingerprint(request), bearer(request.scope)
            )
            if isinstance(begun, Answer):
                return Response(begun.body, begun.status, {**begun.headers, REPLAYED: "true"})
            return await _first(request, handle, begun)

        return once


async def _first(
    request: Request, handle: Callable[[Request], Coroutine[Any, Any, Response]], claim: Claim
) -> Response:
    idempotency = (await get_services(request)).idempotency
    try:
        response = await handle(request)
    except BaseException:
        await idempotency.release(claim)
        raise
    if response.status_code >= 300 or isinstance(response, Unkept):
        await idempotency.release(claim)
        return response
    headers = {name: value for name, value in response.headers.items() if name in _KEPT_HEADERS}
    await idempotency.keep(claim, Answer(response.status_code, headers, bytes(response.body)))
    return response


async def _fingerprint(request: Request) -> str:
    """What makes two requests the same. A multipart body's boundary is chosen anew each time and does not count."""
    body, kind = await request.body(), request.headers.get("content-type", "")
    boundary = kind.partition("boundary=")[2].split(";")[0].strip().strip('"')
    if boundary:  # by something no longer: the caller chose how often it occurs
        body, kind = body.replace(boundary.encode(), b"-"), kind.replace(boundary, "-")
    told = [request.url.path, request.url.query, kind, request.headers.get("x-tenant-id", "")]
    return hashlib.sha256(json.dumps(told).encode() + b"\0" + body).hexdigest()
