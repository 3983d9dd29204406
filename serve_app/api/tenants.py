"""Tenants: the platform's to create, change and delete."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from deployments.errors import Forbidden
from serve_app import library
from serve_app.api import idempotent
from serve_app.api.access import KeyHolder, Platform, Serving
from serve_app.api.idempotent import CreatingRoute
from serve_app.api.paging import Page
from serve_app.platform.tenancy import Settings
from serve_app.platform.tenants import TenantView
from serve_app.schemas import Text, Wire

router = APIRouter(tags=["tenants"], route_class=CreatingRoute)
TenantId = Annotated[str, Path(max_length=64, examples=["acme"])]


class NewTenant(Wire):
    id: str = Field(max_length=64, description="1 to 64 of A-Z, a-z, 0-9, _ . -", examples=["acme"])
    name: Text = Field("", max_length=256)
    settings: Settings = Settings()


class TenantPatch(Wire):
    name: Text | None = Field(None, min_length=1, max_length=256)
    settings: dict[str, Any] | None = Field(
        None, description="a JSON merge patch: null resets a setting", examples=[{"quotas": {"documents": 1000}}]
    )
    suspended: bool | None = Field(None, description="true: every key of the tenant is refused until false is sent")


@router.post("/tenants", status_code=201, openapi_extra=idempotent.OPENAPI)
async def create(body: NewTenant, serving: Serving, holder: Platform, response: Response) -> dict[str, Any]:
    """Make a tenant, with an empty collection `default`."""
    tenant = await serving.tenants.create(body.id, body.name, body.settings)
    response.headers["Location"] = f"/v1/tenants/{tenant.id}"
    return wire(tenant)


@router.get("/tenants")
async def list_(
    serving: Serving, holder: Platform, page: Page, after: str = Query("", max_length=64)
) -> dict[str, Any]:
    """Tenants in the order of their ids; `next` is the `after` of the next page."""
    tenants = await serving.tenants.list(after=after, limit=page)
    return {"tenants": [wire(each) for each in tenants], "next": tenants[-1].id if len(tenants) == page else None}


@router.get("/tenants/{tenant_id}")
async def get(tenant_id: TenantId, serving: Serving, holder: KeyHolder) -> dict[str, Any]:
    """A tenant's state and settings; an admin key of the tenant may look too."""
    if holder.role != "platform" and (holder.role, holder.tenant_id) != ("admin", tenant_id):
        raise Forbidden("this key may not look at that tenant")
    return wire(await serving.tenants.get(tenant_id))


@router.patch("/tenants/{tenant_id}")
async def patch(tenant_id: TenantId, body: TenantPatch, serving: Serving, holder: Platform) -> dict[str, Any]:
    """Change a tenant's name or settings, suspend it or let it go on."""
    return wire(
        await serving.tenants.patch(tenant_id, name=body.name, settings=body.settings, suspended=body.suspended)
    )


@router.delete("/tenants/{tenant_id}")
async def delete(tenant_id: TenantId, serving: Serving, holder: Platform) -> dict[str, Any]:
    """Remove a tenant with all that belongs to it, and say how much that was. What fails halfway is taken up by the
    same call again."""
    return {"id": tenant_id, "removed": asdict(await library.delete_tenant(serving, tenant_id))}


def wire(tenant: TenantView) -> dict[str, Any]:
    return {
        "id": tenant.id,
        "name": tenant.name,
        "status": tenant.status,
        "settings": tenant.settings.model_dump(),
        "created_at": tenant.created_at.isoformat(),
        "updated_at": tenant.updated_at.isoformat(),
    }
