"""How many rows a list gives."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query

from deployments.errors import InvalidRequest
from serve_app.api.access import Serving


async def page(
    serving: Serving, limit: Annotated[int | None, Query(ge=1, description="rows to give; 100 if left out")] = None
) -> int:
    most = serving.limits.max_page
    if limit is not None and limit > most:
        raise InvalidRequest(f"limit is {limit}; at most {most} is allowed")
    return limit or serving.limits.page


Page = Annotated[int, Depends(page)]
