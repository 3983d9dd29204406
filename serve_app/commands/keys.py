"""manage_keys: a class for each action."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from serve_app.commands.base import Call, TenantCommand, command
from serve_app.schemas.base import Text, Wire
from serve_app.schemas.keys import FreshKey, Keys, NewKey, Rotation

manage_keys = command("manage_keys")


class _Named(Wire):
    key_id: Text = Field(max_length=64)


@manage_keys
class CreateKey(TenantCommand, NewKey):
    """Make a key. `secret` is shown this once."""

    action: Literal["create"]

    async def run(self, call: Call) -> dict[str, Any]:
        secret, key = await call.services.keys.create_key(
            call.caller.tenant_id, self.name, self.role, expires_at=self.expires_at
        )
        return FreshKey.of(key, secret).as_json()


@manage_keys
class ListKeys(TenantCommand):
    """The tenant's keys, the oldest first, those that have ended too."""

    action: Literal["list"]

    async def run(self, call: Call) -> dict[str, Any]:
        keys = await call.services.keys.list(call.caller.tenant_id)
        return Keys.model_validate({"keys": keys}).as_json()


@manage_keys
class RotateKey(TenantCommand, _Named, Rotation):
    """A successor with the same name, role and end; both work until the overlap is over."""

    action: Literal["rotate"]

    async def run(self, call: Call) -> dict[str, Any]:
        overlap_s = call.services.limits.check_key_overlap(self.overlap_s)
        secret, key = await call.services.keys.rotate(call.caller.tenant_id, self.key_id, overlap_s=overlap_s)
        return FreshKey.of(key, secret).as_json()


@manage_keys
class RevokeKey(TenantCommand, _Named):
    """End a key: within five seconds every replica refuses it."""

    action: Literal["revoke"]

    async def run(self, call: Call) -> dict[str, Any]:
        await call.services.keys.revoke(call.caller.tenant_id, self.key_id)
        return {"id": self.key_id, "revoked": True}
