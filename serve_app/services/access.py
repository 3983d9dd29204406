"""Who may do what: keys, tenants and roles."""

from __future__ import annotations

from dataclasses import dataclass

from deployments.errors import Forbidden, InvalidRequest
from serve_app.platform import actor
from serve_app.platform.actor import Actor
from serve_app.platform.keys import Keys, Principal, Role
from serve_app.platform.tenants import Tenants, TenantView


@dataclass(frozen=True, slots=True)
class Access:
    """The tenant that a request acts for, which is active, and the role of the key that it came with."""

    tenant: TenantView
    role: Role
    key_id: str

    @property
    def tenant_id(self) -> str:
        return self.tenant.id

    def require_write(self) -> Access:
        """Raises Forbidden for a key that may only ask."""
        if self.role == "query":
            raise Forbidden("this key may only ask; use an admin key of the tenant")
        return self


@dataclass(frozen=True, slots=True)
class AccessService:
    keys: Keys
    tenants: Tenants

    async def authenticate(self, secret: str, request_id: str, *, address: str = "") -> Principal:
        """The holder of a key, who is also the actor of all events in this context from now on.

        `address`: the client's. The keys of a suspended tenant may do nothing, not even read. Raises Unauthenticated,
        TenantSuspended, RateLimited for a client that tries many unknown keys, and NotFound while the tenant is being
        deleted.
        """
        principal = await self.keys.authenticate(secret, address=address)
        if principal.role != "platform":
            await self.tenants.active(principal.tenant_id)
        actor.act_as(Actor(principal.key_id, principal.role, request_id))
        return principal

    async def resolve(self, principal: Principal, named_tenant: str | None) -> Access:
        """The tenant comes from the key and from nowhere else; only the platform's key names one with each request.

        Raises Forbidden for another tenant than the key's, InvalidRequest for a platform key that names none, NotFound,
        TenantSuspended.
        """
        if principal.role != "platform":
            if named_tenant is not None and named_tenant != principal.tenant_id:
                raise Forbidden("this key speaks for its own tenant only; leave the tenant out")
            tenant_id = principal.tenant_id
        elif named_tenant is None:
            raise InvalidRequest(
                "a platform key must name the tenant: the header X-Tenant-ID, or `tenant` in a command"
            )
        else:
            tenant_id = named_tenant
        return Access(await self.tenants.active(tenant_id), principal.role, principal.key_id)


def require_overseer(principal: Principal, tenant_id: str) -> None:
    """Raises Forbidden unless the key is the platform's, or an admin key of the tenant."""
    if principal.role != "platform" and (principal.role, principal.tenant_id) != ("admin", tenant_id):
        raise Forbidden("this key may not look at that tenant")


def require_platform(principal: Principal) -> Principal:
    """Raises Forbidden for any other key."""
    if principal.role != "platform":
        raise Forbidden("this needs a platform key: rag keys create --role platform")
    return principal
