"""What routes ask for by annotation: the services, the caller, the deadline, ids, and a page of a list."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Header, Path, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import WithJsonSchema

from deployments.errors import InvalidRequest, Unauthenticated
from serve_app.api.authentication import NO_KEY, PRINCIPAL
from serve_app.api.middleware import RATE
from serve_app.api.refusals import let_refusal_be_repeated
from serve_app.platform.keys import Principal
from serve_app.schemas.base import Label, Name, Text
from serve_app.services.access import Access, require_platform
from serve_app.services.container import Services


async def get_services(request: Request) -> Services:  # async, since others run in a thread each time
    found: Services = request.app.state.services
    return found


ServicesDep = Annotated[Services, Depends(get_services)]
_bearer = HTTPBearer(auto_error=False, description="a key of the tenant, or the platform's with X-Tenant-ID")


async def principal(
    request: Request, _described: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Principal:
    """The key's principal, as the middleware found it before the body was read."""
    found: Principal | None = request.scope.get(PRINCIPAL)
    if found is None:  # a route that the middleware does not guard
        raise Unauthenticated(NO_KEY)
    return found


KeyHolder = Annotated[Principal, Depends(principal)]


NamedTenant = Annotated[
    Text | None,
    Header(
        alias="X-Tenant-ID", description="the tenant that a platform key acts for", max_length=64, examples=["acme"]
    ),
]


async def caller(services: ServicesDep, holder: KeyHolder, x_tenant_id: NamedTenant = None) -> Access:
    return await services.access.resolve(holder, x_tenant_id)


Caller = Annotated[Access, Depends(caller)]


async def asker(request: Request, services: ServicesDep, caller: Caller) -> Access:
    """A caller within its tenant's rate. Whether it is, and whether a slot is free for it, its headers alone decide."""
    let_refusal_be_repeated(request.scope)
    await count(request, services, caller)
    return caller


async def count(request: Request, services: Services, caller: Access) -> None:
    """Count a request against its tenant's rate. Raises RateLimited."""
    try:
        await services.queries.count_request(caller)
    finally:
        request.scope[RATE] = services.queries.rate_status(caller)


Asker = Annotated[Access, Depends(asker)]


async def writer(caller: Caller) -> Access:
    return caller.require_write()


Writer = Annotated[Access, Depends(writer)]


async def platform(holder: KeyHolder) -> Principal:
    return require_platform(holder)


Platform = Annotated[Principal, Depends(platform)]


async def deadline(
    services: ServicesDep,
    x_deadline_ms: Annotated[
        str | None,
        Header(alias="X-Deadline-Ms", description="time budget of the request in ms"),
        WithJsonSchema({"type": "integer", "minimum": 1, "examples": [10_000]}),
    ] = None,
) -> float:
    """Seconds the caller gives the request: X-Deadline-Ms within the service's own limit."""
    if x_deadline_ms is None:
        return services.config.deadline_s
    if not x_deadline_ms.isascii() or not x_deadline_ms.isdecimal() or not int(x_deadline_ms[:12]) > 0:
        raise InvalidRequest("X-Deadline-Ms must be a whole number of milliseconds above 0")
    return min(int(x_deadline_ms[:12]) / 1000, services.config.max_deadline_s)


DeadlineSeconds = Annotated[float, Depends(deadline)]


async def page_size(
    services: ServicesDep,
    limit: Annotated[int | None, Query(ge=1, description="rows of the page; by default 100")] = None,
) -> int:
    return services.limits.resolve_page_size(limit)


PageSize = Annotated[int, Depends(page_size)]
DocumentId = Annotated[Name, Path(examples=["nn-30-18"])]
After = Annotated[Label, Query(max_length=64, description="the `next` of the page before")]
JobId = Annotated[Text, Path(max_length=64, examples=["job_0b3f6a5c9d7e4f1c8a2b6d5e4f3a2b1c"])]
