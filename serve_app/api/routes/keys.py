"""Keys of a tenant: shown once, rotated with an overlap, ended."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from deployments.errors import Conflict, NotFound
from serve_app.api.dependencies import ServicesDep, Writer
from serve_app.api.idempotency import CreatingRoute
from serve_app.api.openapi import describe_errors, describe_response
from serve_app.schemas.base import A_TIME, Text
from serve_app.schemas.keys import FreshKey, Keys, NewKey, Rotation

router = APIRouter(tags=["keys"], route_class=CreatingRoute)
KeyId = Annotated[Text, Path(max_length=64, examples=["key_0b3f6a5c9d7e4f1c8a2b6d5e4f3a2b1c"])]


_KEY = {
    "id": "key_0b3f6a5c9d7e4f1c8a2b6d5e4f3a2b1c",
    "name": "chat",
    "role": "query",
    "begins_with": "rag_1f2e3d4c",
    "created_at": A_TIME,
    "expires_at": None,
    "revoked_at": None,
    "last_used_at": A_TIME,
}
_MADE = describe_response("Location", example=_KEY | {"last_used_at": None, "secret": "rag_1f2e3d4c_…"})


@router.post("/keys", status_code=201, response_model=FreshKey, responses={201: _MADE})
async def create(body: NewKey, services: ServicesDep, caller: Writer, response: Response) -> FreshKey:
    """Make a key. `secret` is shown this once."""
    secret, key = await services.keys.create_key(caller.tenant_id, body.name, body.role, expires_at=body.expires_at)
    response.headers["Location"] = f"/v1/keys/{key.id}"
    return FreshKey.of(key, secret)


@router.get("/keys", response_model=Keys, responses={200: describe_response(example={"keys": [_KEY]})})
async def list_(services: ServicesDep, caller: Writer) -> Keys:
    """The tenant's keys, the oldest first, with those that have ended."""
    return Keys.model_validate({"keys": await services.keys.list(caller.tenant_id)})


@router.post(
    "/keys/{key_id}/rotate",
    status_code=201,
    response_model=FreshKey,
    responses={201: _MADE, **describe_errors(NotFound, Conflict)},
)
async def rotate(
    key_id: KeyId, services: ServicesDep, caller: Writer, response: Response, body: Rotation | None = None
) -> FreshKey:
    """Make a successor with the same name, role and end. Both keys work until the overlap is over."""
    overlap_s = services.limits.check_key_overlap((body or Rotation()).overlap_s)
    secret, key = await services.keys.rotate(caller.tenant_id, key_id, overlap_s=overlap_s)
    response.headers["Location"] = f"/v1/keys/{key.id}"
    return FreshKey.of(key, secret)


@router.delete("/keys/{key_id}", status_code=204, responses=describe_errors(NotFound))
async def revoke(key_id: KeyId, services: ServicesDep, caller: Writer) -> None:
    """End a key: within five seconds every replica refuses it."""
    await services.keys.revoke(caller.tenant_id, key_id)
