"""Keys of a tenant."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field

from serve_app.platform.keys import Key as KeyRecord
from serve_app.platform.keys import Role
from serve_app.schemas.base import From, Moment, ResponseModel, Text, Time, Wire


class NewKey(Wire):
    name: Text = Field("", max_length=256, description="what the key is for")
    role: Literal["admin", "query"] = Field(
        "query", description="query: ask only; admin: also change documents and keys"
    )
    expires_at: Moment | None = Field(None, description="by default the key is valid until it is revoked")


class Rotation(Wire):
    overlap_s: float = Field(3_600, ge=0, description="how long the old key stays valid")


class Key(ResponseModel):
    id: str
    name: str
    role: Role
    begins_with: Annotated[str, From(lambda key: f"rag_{key.prefix}")] = Field(
        description="how the secret begins", examples=["rag_1f2e3d4c"]
    )
    created_at: Time
    expires_at: Time | None
    revoked_at: Time | None
    last_used_at: Time | None = Field(description="up to a minute old; null: it was not used yet")


class Keys(ResponseModel):
    keys: list[Key]


class FreshKey(Key):
    secret: str = Field(description="shown this once", examples=["rag_1f2e3d4c_…"])

    @classmethod
    def of(cls, key: KeyRecord, secret: str) -> Self:
        return cls(**dict(Key.model_validate(key)), secret=secret)
