"""What routes ask for by annotation: the services, who calls, and how long the call may take."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Header, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import WithJsonSchema

from deployments.errors import InvalidRequest, Unauthenticated
from serve_app.api.authentication import NO_KEY, PRINCIPAL
from serve_app.api.middleware import RATE
from serve_app.platform.keys import Principal
from serve_app.schemas.documents import Text
from serve_app.services import container as rules
from serve_app.services import queries as questions
from serve_app.services.container import Access, Services


async def services(request: Request) -> Services:  # what is not async runs in a thread, each time
    found: Services = request.app.state.services
    return found


Serving = Annotated[Services, Depends(services)]
_bearer = HTTPBearer(auto_error=False, description="a key of the tenant, or the platform's with X-Tenant-ID")


async def principal(
    request: Request, _described: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Principal:
    """Whom the key speaks for, as the middleware found before anything of the body was read."""
    found: Principal | None = request.scope.get(PRINCIPAL)
    if found is None:  # a route outside of what the middleware guards
        raise Unauthenticated(NO_KEY)
    return found


KeyHolder = Annotated[Principal, Depends(principal)]


NamedTenant = Annotated[
    Text | None,
    Header(
        alias="X-Tenant-ID", description="the tenant that a platform key acts for", max_length=64, examples=["acme"]
    ),
]


async def caller(serving: Serving, holder: KeyHolder, x_tenant_id: NamedTenant = None) -> Access:
    return await rules.access(serving, holder, x_tenant_id)


Caller = Annotated[Access, Depends(caller)]


async def asker(request: Request, serving: Serving, caller: Caller) -> Access:
    """A caller within its tenant's rate."""
    try:
        await questions.spend(serving, caller)
    finally:
        request.scope[RATE] = serving.admission.rate_status(caller.tenant_id)
    return caller


Asker = Annotated[Access, Depends(asker)]


async def writer(caller: Caller) -> Access:
    return caller.to_change()


Writer = Annotated[Access, Depends(writer)]


async def platform(holder: KeyHolder) -> Principal:
    return rules.for_platform(holder)


Platform = Annotated[Principal, Depends(platform)]


async def deadline(
    serving: Serving,
    x_deadline_ms: Annotated[
        str | None,
        Header(alias="X-Deadline-Ms", description="time budget of the request in ms"),
        WithJsonSchema({"type": "integer", "minimum": 1, "examples": [10_000]}),
    ] = None,
) -> float:
    """Seconds the caller gives the request: X-Deadline-Ms within the service's own limit."""
    if x_deadline_ms is None:
        return serving.limits.deadline_s
    if not x_deadline_ms.isascii() or not x_deadline_ms.isdecimal() or not int(x_deadline_ms[:12]) > 0:
        raise InvalidRequest("X-Deadline-Ms must be a whole number of milliseconds above 0")
    return min(int(x_deadline_ms[:12]) / 1000, serving.limits.max_deadline_s)


DeadlineSeconds = Annotated[float, Depends(deadline)]
