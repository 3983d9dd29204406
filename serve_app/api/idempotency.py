"""Routes that create things are idempotent: an Idempotency-Key replays the answer of the first request with it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from deployments.errors import Forbidden, InvalidRequest, NotFound
from serve_app.api.authentication import PRINCIPAL, bearer
from serve_app.api.dependencies import get_services
from serve_app.platform.idempotency import Answer, Claim
from serve_app.platform.keys import Principal
from serve_app.services.access import AccessService

KEY_HEADER = "Idempotency-Key"
MAX_KEY_CHARACTERS = 255
REPLAYED_HEADER = "Idempotent-Replayed"
_STORED_HEADERS = ("content-type", "location")


class NotStored(Response):
    """A failure with a success status. It is not stored, so the next request with the same key runs again."""


class CreatingRoute(APIRoute):
    async def tenants_in_body(self, request: Request) -> Iterable[str]:
        """The tenants that a request names beside X-Tenant-ID, for which a platform key acts."""
        return ()

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_once(request: Request) -> Response:
            key = request.headers.get(KEY_HEADER)
            if key is None or request.method != "POST":
                return await handle(request)
            if not 1 <= len(key) <= MAX_KEY_CHARACTERS:
                raise InvalidRequest(f"{KEY_HEADER} must have 1 to {MAX_KEY_CHARACTERS} characters")
            services = await get_services(request)
            principal: Principal = request.scope[PRINCIPAL]
            claim = await services.idempotency.begin(
                principal.tenant_id, key, await _fingerprint(request, principal), bearer(request.scope)
            )
            if isinstance(claim, Answer):
                header = request.headers.get("x-tenant-id")
                named = () if header is None else (header,)
                for tenant in {*named, *await self.tenants_in_body(request)}:
                    await _check_still_active(services.access, principal, tenant, is_of_header=tenant == header)
                return Response(claim.body, claim.status, {**claim.headers, REPLAYED_HEADER: "true"})
            return await _handle_first(request, handle, claim)

        return handle_once


async def _check_still_active(access: AccessService, principal: Principal, tenant: str, *, is_of_header: bool) -> None:
    """Raises TenantSuspended, and NotFound if X-Tenant-ID names a tenant that is gone by now.

    One of several calls in a body may have been refused at first, since its tenant was another's or unknown. The kept
    answer says so.
    """
    try:
        await access.resolve(principal, tenant)
    except Forbidden:
        pass
    except NotFound:
        if is_of_header:
            raise


async def _handle_first(
    request: Request, handle: Callable[[Request], Coroutine[Any, Any, Response]], claim: Claim
) -> Response:
    idempotency = (await get_services(request)).idempotency
    try:
        response = await handle(request)
    except BaseException:
        await idempotency.release(claim)
        raise
    if response.status_code >= 300 or isinstance(response, NotStored):
        await idempotency.release(claim)
        return response
    headers = {name: value for name, value in response.headers.items() if name in _STORED_HEADERS}
    await idempotency.keep(claim, Answer(response.status_code, headers, bytes(response.body)))
    return response


async def _fingerprint(request: Request, principal: Principal) -> str:
    """Equal for equal requests by keys of one role. A multipart body's boundary is random and does not count."""
    body, kind = await request.body(), request.headers.get("content-type", "")
    boundary = kind.partition("boundary=")[2].split(";")[0].strip().strip('"')
    if boundary:  # with a shorter text: the caller chose how often the boundary occurs
        body, kind = body.replace(boundary.encode(), b"-"), kind.replace(boundary, "-")
    head = [request.url.path, request.url.query, kind, request.headers.get("x-tenant-id", ""), principal.role]
    return hashlib.sha256(json.dumps(head).encode() + b"\0" + body).hexdigest()
