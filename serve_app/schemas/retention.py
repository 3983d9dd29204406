"""How long what has ended is kept, and what is to be removed."""

from __future__ import annotations

from pydantic import Field

from serve_app.schemas.base import ResponseModel, Time


class RetentionState(ResponseModel):
    days: dict[str, float | None] = Field(
        description="how long jobs and so on are kept; null: until the tenant is deleted"
    )
    waiting: dict[str, int] = Field(
        description="how many are to be removed, at most 10,000 of each: of the tenant, or with a platform key that "
        "names none, uploads and hidden versions of all"
    )
    swept_at: Time | None = Field(description="when they were last removed")
    removed: dict[str, int] = Field(description="what was then removed, for a platform key that names no tenant")
