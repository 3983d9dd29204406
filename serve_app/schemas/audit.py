"""The audit log."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from serve_app.schemas.base import Next, ResponseModel, Time


class AuditEntry(ResponseModel):
    at: Time
    actor: str = Field(description="the key's id, or `system`")
    role: str
    request_id: str = Field(description="X-Request-ID of the request that did it")
    action: str = Field(examples=["key.revoked"])
    subject: str = Field(description="the id of what it was done to")
    details: dict[str, Any]


class AuditEntries(ResponseModel):
    entries: list[AuditEntry]
    next: Next
