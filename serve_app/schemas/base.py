"""What answers' schemas have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Next = Annotated[str | None, Field(description="`after` of the next page; null: this is the last one")]


class Shown(BaseModel):
    """An answer's schema. What the code says beyond it is a defect, but clients are to expect new fields."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=lambda schema: schema.pop("additionalProperties", None))
