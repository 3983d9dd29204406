"""Tenants: the platform's to create, change and delete."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from serve_app.commands.base import PlatformCommand, command
from serve_app.platform.keys import Principal
from serve_app.schemas.base import Paged, Text, Wire
from serve_app.schemas.tenants import RemovedTenant, Tenant, TenantFields, TenantPatch, Tenants
from serve_app.services.access import require_overseer
from serve_app.services.container import Services


class _Named(Wire):
    tenant: Text = Field(max_length=64, description="1 to 64 of A-Z, a-z, 0-9, _ . -", examples=["acme"])


@command("create_tenant")
class CreateTenant(PlatformCommand, _Named, TenantFields):
    """Make a tenant, with an empty collection `default`."""

    async def run(self, services: Services) -> dict[str, Any]:
        return Tenant.model_validate(await services.tenants.create(self.tenant, self.name, self.settings)).as_json()


@command("get_tenant")
class GetTenant(PlatformCommand, _Named):
    """A tenant's state and settings; an admin key of the tenant may look too."""

    def allow(self, holder: Principal) -> None:
        require_overseer(holder, self.tenant)

    async def run(self, services: Services) -> dict[str, Any]:
        return Tenant.model_validate(await services.tenants.get(self.tenant)).as_json()


@command("list_tenants")
class ListTenants(PlatformCommand, Paged):
    """Tenants in the order of their ids."""

    async def run(self, services: Services) -> dict[str, Any]:
        limit = services.limits.resolve_page_size(self.limit)
        return Tenants.page(await services.tenants.list(after=self.after, limit=limit), limit).as_json()


@command("update_tenant")
class UpdateTenant(PlatformCommand, _Named, TenantPatch):
    """Change a tenant's name or settings, suspend it or resume it."""

    async def run(self, services: Services) -> dict[str, Any]:
        changed = await services.tenants.patch(
            self.tenant, name=self.name, settings=self.settings, suspended=self.suspended
        )
        return Tenant.model_validate(changed).as_json()


@command("delete_tenant")
class DeleteTenant(PlatformCommand, _Named):
    """Remove a tenant with all that belongs to it, and say how much that was. What fails halfway is taken up by the
    same command again."""

    async def run(self, services: Services) -> dict[str, Any]:
        removed = await services.deletion.delete_tenant(self.tenant)
        return RemovedTenant(id=self.tenant, removed=removed).as_json()
