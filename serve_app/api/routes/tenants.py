"""Tenants: the platform's to create, change and delete."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Path, Response

from deployments.errors import Conflict, Forbidden, NotFound, StageUnavailable
from serve_app.api.dependencies import After, KeyHolder, PageSize, Platform, ServicesDep
from serve_app.api.idempotency import CreatingRoute
from serve_app.api.openapi import describe_errors, describe_response
from serve_app.platform.tenant_settings import Settings
from serve_app.platform.tenants import Removed
from serve_app.schemas.base import A_TIME, Text
from serve_app.schemas.tenants import NewTenant, RemovedTenant, Tenant, TenantPatch, Tenants
from serve_app.services.access import require_overseer

router = APIRouter(tags=["tenants"], route_class=CreatingRoute)
TenantId = Annotated[Text, Path(max_length=64, examples=["acme"])]


_ACME = {
    "id": "acme",
    "name": "Acme d.o.o.",
    "status": "active",
    "settings": Settings(default_language="hr").model_dump(),
    "created_at": A_TIME,
    "updated_at": A_TIME,
}
_REMOVED = asdict(Removed(passages=120, documents=9, blobs=11, bytes=48_211, keys=2, jobs=4, collections=2))


@router.post(
    "/tenants",
    status_code=201,
    response_model=Tenant,
    responses={201: describe_response("Location", example=_ACME), **describe_errors(Conflict)},
)
async def create(body: NewTenant, services: ServicesDep, holder: Platform, response: Response) -> Tenant:
    """Make a tenant, with an empty collection `default`."""
    tenant = await services.tenants.create(body.id, body.name, body.settings)
    response.headers["Location"] = f"/v1/tenants/{tenant.id}"
    return Tenant.model_validate(tenant)


@router.get(
    "/tenants", response_model=Tenants, responses={200: describe_response(example={"tenants": [_ACME], "next": None})}
)
async def list_(services: ServicesDep, holder: Platform, limit: PageSize, after: After = "") -> Tenants:
    """Tenants in the order of their ids; `next` is the `after` of the next page."""
    tenants = await services.tenants.list(after=after, limit=limit)
    return Tenants.page(tenants, limit)


@router.get(
    "/tenants/{tenant_id}",
    response_model=Tenant,
    responses={200: describe_response(example=_ACME), **describe_errors(Forbidden, NotFound)},
)
async def get(tenant_id: TenantId, services: ServicesDep, holder: KeyHolder) -> Tenant:
    """A tenant's state and settings. An admin key of the tenant may read them too."""
    require_overseer(holder, tenant_id)
    return Tenant.model_validate(await services.tenants.get(tenant_id))


@router.patch(
    "/tenants/{tenant_id}",
    response_model=Tenant,
    responses={200: describe_response(example=_ACME), **describe_errors(NotFound)},
)
async def patch(tenant_id: TenantId, body: TenantPatch, services: ServicesDep, holder: Platform) -> Tenant:
    """Change a tenant's name or settings, suspend it or resume it."""
    return Tenant.model_validate(
        await services.tenants.patch(tenant_id, name=body.name, settings=body.settings, suspended=body.suspended)
    )


@router.delete(
    "/tenants/{tenant_id}",
    response_model=RemovedTenant,
    responses={
        200: describe_response(example={"id": "acme", "removed": _REMOVED}),
        **describe_errors(NotFound, StageUnavailable),
    },
)
async def delete(tenant_id: TenantId, services: ServicesDep, holder: Platform) -> RemovedTenant:
    """Remove a tenant with all that belongs to it, and say how much that was.

    If it fails halfway, the same call continues it.
    """
    return RemovedTenant(id=tenant_id, removed=await services.deletion.delete_tenant(tenant_id))
