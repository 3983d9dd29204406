"""What requests to the routes of other APIs have in common."""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from serve_app.schemas.base import Wire


class ForeignRequest(Wire):
    """Clients send null for what they do not ask for, also in fields that this service does not know."""

    @model_validator(mode="before")
    @classmethod
    def _without_unknown_nulls(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: given for name, given in value.items() if given is not None or name in cls.model_fields}
