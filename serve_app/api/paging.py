"""How many rows a list gives, and from where."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query
from pydantic import Field

from serve_app.api.dependencies import Serving
from serve_app.schemas.documents import Text
from serve_app.services import limits as bounds


async def page(
    serving: Serving, limit: Annotated[int | None, Query(ge=1, description="rows to give; 100 if left out")] = None
) -> int:
    return bounds.page(serving.limits, limit)


Page = Annotated[int, Depends(page)]
After = Annotated[Text, Query(max_length=64, description="the `next` of the page before")]
Next = Annotated[str | None, Field(description="`after` of the next page; null: this is the last one")]
