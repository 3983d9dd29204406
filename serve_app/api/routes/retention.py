"""GET /retention: how long what has ended is kept, and what is to be removed."""

from __future__ import annotations

from fastapi import APIRouter

from deployments.errors import Forbidden, NotFound, TenantSuspended
from serve_app.api.dependencies import KeyHolder, NamedTenant, ServicesDep
from serve_app.api.openapi import describe_errors, describe_response
from serve_app.schemas.base import A_TIME
from serve_app.schemas.retention import RetentionState

router = APIRouter(tags=["retention"])

_STATE = {
    "days": {"jobs": 90, "audit": 400, "queries": 90, "usage": 400, "keys": 90},
    "waiting": {"jobs": 0, "audit": 12, "queries": 0, "usage": 0, "keys": 0, "uploads": 3, "versions": 3},
    "swept_at": A_TIME,
    "removed": {},
}


@router.get(
    "/retention",
    response_model=RetentionState,
    responses={
        200: describe_response(example=_STATE),
        **describe_errors(Forbidden, TenantSuspended, NotFound),
    },
)
async def get(services: ServicesDep, holder: KeyHolder, x_tenant_id: NamedTenant = None) -> RetentionState:
    """How long jobs, keys and log entries are kept, and how many of them are to be removed.

    A platform key that names no tenant is told of the whole service.
    """
    if holder.role == "platform" and x_tenant_id is None:
        return RetentionState.model_validate(await services.retention.service_state())
    access = (await services.access.resolve(holder, x_tenant_id)).require_write()
    return RetentionState.model_validate(await services.retention.state(access.tenant_id))
