"""GET /audit: who did what."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from deployments.errors import Forbidden, NotFound, TenantSuspended
from serve_app.api.dependencies import After, KeyHolder, NamedTenant, PageSize, ServicesDep
from serve_app.api.openapi import describe_errors, describe_response
from serve_app.schemas.audit import AuditEntries
from serve_app.schemas.base import A_TIME
from serve_app.storage.declarative import PLATFORM

router = APIRouter(tags=["audit"])


_ENTRY = {
    "at": A_TIME,
    "actor": "key_0b3f6a5c9d7e4f1c8a2b6d5e4f3a2b1c",
    "role": "admin",
    "request_id": "0b3f6a5c9d7e4f1c8a2b6d5e4f3a2b1c",
    "action": "collection.deleted",
    "subject": "zakoni",
    "details": {"documents": 12},
}


async def audited(services: ServicesDep, holder: KeyHolder, x_tenant_id: NamedTenant = None) -> str:
    """Whose log. Platform keys that name no tenant read the platform's own."""
    if holder.role == "platform" and x_tenant_id is None:
        return PLATFORM
    return (await services.access.resolve(holder, x_tenant_id)).require_write().tenant_id


@router.get(
    "/audit",
    response_model=AuditEntries,
    responses={
        200: describe_response(example={"entries": [_ENTRY], "next": None}),
        **describe_errors(Forbidden, TenantSuspended, NotFound),
    },
)
async def list_(
    services: ServicesDep, tenant_id: Annotated[str, Depends(audited)], limit: PageSize, after: After = ""
) -> AuditEntries:
    """Who changed what, the newest first; `next` is the `after` of the page of older entries.

    An admin key reads the log of its tenant, and so does a platform key that names the tenant. A platform key that
    names none reads the platform's own log, which also has the entries about deleted tenants.
    """
    return AuditEntries.model_validate(await services.audit.list(tenant_id, after=after, limit=limit))
