"""Keys of a tenant: shown once, rotated with an overlap, ended."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Response
from pydantic import AwareDatetime, Field

from deployments.errors import InvalidRequest
from serve_app.api import idempotent
from serve_app.api.access import Serving, Writer
from serve_app.api.idempotent import CreatingRoute
from serve_app.platform.keys import Key
from serve_app.schemas import Text, Wire

router = APIRouter(tags=["keys"], route_class=CreatingRoute)
KeyId = Annotated[str, Path(max_length=64)]


class NewKey(Wire):
    name: Text = Field("", max_length=256, description="what the key is for")
    role: Literal["admin", "query"] = Field("query", description="admin may change documents and keys, query only ask")
    expires_at: AwareDatetime | None = Field(None, description="left out, it stays until it is revoked")


class Rotation(Wire):
    overlap_s: float = Field(3_600, ge=0, description="how long the old key goes on working")


@router.post("/keys", status_code=201, openapi_extra=idempotent.OPENAPI)
async def create(body: NewKey, serving: Serving, caller: Writer, response: Response) -> dict[str, Any]:
    """Make a key. `secret` is shown this once."""
    secret, key = await serving.keys.create_key(caller.tenant_id, body.name, body.role, expires_at=body.expires_at)
    response.headers["Location"] = f"/v1/keys/{key.id}"
    return {**wire(key), "secret": secret}


@router.get("/keys")
async def list_(serving: Serving, caller: Writer) -> dict[str, Any]:
    """The tenant's keys, the oldest first, those that have ended too."""
    return {"keys": [wire(key) for key in await serving.keys.list(caller.tenant_id)]}


@router.post("/keys/{key_id}/rotate", status_code=201, openapi_extra=idempotent.OPENAPI)
async def rotate(
    key_id: KeyId, serving: Serving, caller: Writer, response: Response, body: Rotation | None = None
) -> dict[str, Any]:
    """A successor with the same name, role and end; both work until the overlap is over."""
    overlap_s, most = (body or Rotation()).overlap_s, serving.limits.max_key_overlap_s
    if overlap_s > most:
        raise InvalidRequest(f"overlap_s is {overlap_s:g}; at most {most:g} is allowed")
    secret, key = await serving.keys.rotate(caller.tenant_id, key_id, overlap_s=overlap_s)
    response.headers["Location"] = f"/v1/keys/{key.id}"
    return {**wire(key), "secret": secret}


@router.delete("/keys/{key_id}", status_code=204)
async def revoke(key_id: KeyId, serving: Serving, caller: Writer) -> None:
    """End a key: within five seconds every replica refuses it."""
    await serving.keys.revoke(caller.tenant_id, key_id)


def wire(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "role": key.role,
        "begins_with": f"rag_{key.prefix}",
        "created_at": key.created_at.isoformat(),
        "expires_at": _time(key.expires_at),
        "revoked_at": _time(key.revoked_at),
    }


def _time(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
