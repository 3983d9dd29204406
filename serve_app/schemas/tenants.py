"""Tenants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import Field

from serve_app.platform.tenant_settings import Settings
from serve_app.platform.tenants import Removed, Status, TenantView
from serve_app.schemas.base import From, Next, ResponseModel, Text, Time, Wire


class TenantFields(Wire):
    name: Text = Field("", max_length=256)
    settings: Settings = Settings()


class NewTenant(TenantFields):
    id: str = Field(max_length=64, description="1 to 64 of A-Z, a-z, 0-9, _ . -", examples=["acme"])


class TenantPatch(Wire):
    name: Text | None = Field(None, min_length=1, max_length=256)
    settings: dict[str, Any] | None = Field(
        None, description="a JSON merge patch: null resets a setting", examples=[{"quotas": {"documents": 1000}}]
    )
    suspended: bool | None = Field(None, description="true: every key of the tenant is refused until false is sent")


def _settings(tenant: TenantView) -> Settings | dict[str, Any]:
    """With the webhook's secret only where it has just been set."""
    return tenant.settings if tenant.new_secret else tenant.settings.shown()


class Tenant(ResponseModel):
    id: str = Field(examples=["acme"])
    name: str
    status: Status
    settings: Annotated[Settings, From(_settings)]
    created_at: Time
    updated_at: Time


class Tenants(ResponseModel):
    tenants: list[Tenant]
    next: Next

    @classmethod
    def page(cls, rows: Sequence[TenantView], limit: int) -> Self:
        """A page of at most `limit` rows: a full one may have a next."""
        return cls.model_validate({"tenants": rows, "next": rows[-1].id if len(rows) == limit else None})


class RemovedTenant(ResponseModel):
    id: str
    removed: Removed
