"""Routes that create things, and those that answer questions, are idempotent.

An Idempotency-Key replays the answer of the first request with it. A stream is kept once its answer is whole, before
its last events are sent. So a client that has read the end of it gets the kept answer from then on.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from deployments.errors import Forbidden, InvalidRequest, NotFound, RagError
from deployments.tasks import spawn_detached
from serve_app.api.authentication import PRINCIPAL, bearer
from serve_app.api.dependencies import count, get_services
from serve_app.api.streaming import EMPTY_LINE, PING, EventStream
from serve_app.platform.idempotency import Answer, Claim, Idempotency
from serve_app.platform.keys import Principal
from serve_app.services.access import Access, AccessService

logger = logging.getLogger(__name__)
KEY_HEADER = "Idempotency-Key"
MAX_KEY_CHARACTERS = 255
REPLAYED_HEADER = "Idempotent-Replayed"
_STORED_HEADERS = ("content-type", "location", "x-query-id", "cache-control")
_HEARTBEATS = (PING, EMPTY_LINE)
_settling = set[asyncio.Task[None]]()
"""Claims that are being kept or released. Their requests may be over."""


class NotStored(Response):
    """A failure with a success status. It is not stored, so the next request with the same key runs again."""


@dataclass(frozen=True, slots=True)
class Keeper:
    """Whose Idempotency-Keys a request's is one of. `is_question`: its answer may be dropped early for newer ones.
    `counted`: against whose rate a kept answer counts, as an answer that is made does."""

    tenant_id: str
    user: str = ""
    is_question: bool = False
    counted: Access | None = None


class IdempotentRoute(APIRoute):
    async def keeper(self, request: Request, principal: Principal) -> Keeper:
        return Keeper(principal.tenant_id)

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
            keeper = await self.keeper(request, principal)
            claim = await services.idempotency.begin(
                keeper.tenant_id,
                key,
                await _fingerprint(request, principal),
                bearer(request.scope),
                user=keeper.user,
                is_question=keeper.is_question,
            )
            if isinstance(claim, Answer):
                if keeper.counted is not None:
                    await count(request, services, keeper.counted)
                header = request.headers.get("x-tenant-id")
                named = () if header is None else (header,)
                for tenant in {*named, *await self.tenants_in_body(request)}:
                    await _check_still_active(services.access, principal, tenant, is_of_header=tenant == header)
                return Response(claim.body, claim.status, {**claim.headers, REPLAYED_HEADER: "true"})
            return await _handle_first(request, handle, claim)

        return handle_once


class CreatingRoute(IdempotentRoute):
    """A route that creates something. A platform's keys are its own, whichever tenant it acts for."""


class QuestionRoute(IdempotentRoute):
    """A route that answers questions of a tenant's users. They share no keys, and none with another tenant."""

    async def keeper(self, request: Request, principal: Principal) -> Keeper:
        access = (await get_services(request)).access
        caller = await access.resolve(principal, request.headers.get("x-tenant-id"))
        return Keeper(caller.tenant_id, user=_user_of(await request.body()), is_question=True, counted=caller)


def _user_of(body: bytes) -> str:
    """The user that a question names. A body that is no JSON, or whose user is none, will be refused."""
    try:
        user = from_json(body, allow_inf_nan=False)["user"]
    except (ValueError, KeyError, TypeError, IndexError):
        return ""
    return user if isinstance(user, str) else ""


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
    if isinstance(response, EventStream):
        return _FirstStream(response, idempotency, claim)
    if response.status_code >= 300 or isinstance(response, NotStored):
        await idempotency.release(claim)
        return response
    await idempotency.keep(claim, _answer(response, bytes(response.body)))
    return response


def _answer(response: Response, body: bytes) -> Answer:
    headers = {name: value for name, value in response.headers.items() if name in _STORED_HEADERS}
    return Answer(response.status_code, headers, body)


class _FirstStream(Response):
    """A stream that is kept once its answer is whole. If it fails or its reader goes away, its claim is released."""

    def __init__(self, stream: EventStream, idempotency: Idempotency, claim: Claim) -> None:
        super().__init__()
        self._stream = stream
        self._idempotency = idempotency
        self._claim = claim
        self._is_settled = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._stream.body_iterator = self._blocks()
        try:
            await self._stream(scope, receive, send)
        finally:
            await self._settle(self._idempotency.release(self._claim))

    async def _blocks(self) -> AsyncGenerator[bytes]:
        kept: list[bytes] = []
        size, ending = 0, self._stream.ending
        async with aclosing(self._stream.blocks) as blocks:
            async for block in blocks:
                if block not in _HEARTBEATS and size <= self._idempotency.max_answer_bytes:
                    kept.append(block)
                    size += len(block)
                if ending is None or not ending.is_whole:
                    yield block
                    continue
                # Nothing is awaited for the rest: its generation is over.
                rest = [each async for each in blocks]
                body = b"".join([*kept, *(each for each in rest if each not in _HEARTBEATS)])
                await self._settle(self._idempotency.keep(self._claim, _answer(self._stream, body)))
                for each in (block, *rest):
                    yield each
            await self._settle(self._idempotency.release(self._claim))

    async def _settle(self, work: Coroutine[Any, Any, None]) -> None:
        """Keep or release, once, also if the request is cancelled meanwhile. The answer does not fail with it."""
        if self._is_settled:
            work.close()
            return
        self._is_settled = True
        task = spawn_detached(_logged(work))
        _settling.add(task)
        task.add_done_callback(_settling.discard)
        await asyncio.shield(task)


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except RagError as error:  # the claim ends with its lease
        logger.warning("an Idempotency-Key's answer was neither kept nor released: %s", error)


async def _fingerprint(request: Request, principal: Principal) -> str:
    """Equal for equal requests by keys of one role. A multipart body's boundary is random and does not count."""
    body, kind = await request.body(), request.headers.get("content-type", "")
    boundary = kind.partition("boundary=")[2].split(";")[0].strip().strip('"')
    if boundary:  # with a shorter text: the caller chose how often the boundary occurs
        body, kind = body.replace(boundary.encode(), b"-"), kind.replace(boundary, "-")
    head = [request.url.path, request.url.query, kind, request.headers.get("x-tenant-id", ""), principal.role]
    return hashlib.sha256(json.dumps(head).encode() + b"\0" + body).hexdigest()
