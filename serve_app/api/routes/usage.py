"""GET /usage: what a tenant used, by day, key or user."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from dataclasses import astuple
from datetime import date
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from starlette.responses import Response

from serve_app.api.dependencies import PageSize, ServicesDep, Writer
from serve_app.api.openapi import describe_response
from serve_app.platform.daily_usage import COUNTS, By, Period, UsageReports, UsedBy
from serve_app.schemas.base import Label
from serve_app.schemas.query_log import UsageReport
from serve_app.storage.pagination import Page

router = APIRouter(tags=["usage"])

_ROWS = 1_000
"""Rows of a CSV that are read together."""
_COUNTED = {
    "questions": 412,
    "failed": 3,
    "cancelled": 9,
    "prompt_tokens": 331_204,
    "cached_tokens": 198_700,
    "completion_tokens": 40_119,
}
_USAGE = {
    "by": "day",
    "since": "2026-11-01",
    "until": "2026-12-01",
    "used": [{"name": "2026-11-24", **_COUNTED}],
    "stored": {"documents": 1_204, "bytes": 88_120_334},
    "next": None,
}
_CSV = {
    "text/csv": {
        "schema": {"type": "string"},
        "example": "day,questions,failed,cancelled,prompt_tokens,cached_tokens,completion_tokens\r\n"
        "2026-11-24,412,3,9,331204,198700,40119\r\n",
    }
}
FirstDay = Annotated[date | None, Query(description="the first day, in UTC", examples=["2026-11-01"])]
EndDay = Annotated[date | None, Query(description="the day after the last one, in UTC", examples=["2026-12-01"])]


@router.get(
    "/usage",
    response_model=UsageReport,
    responses={200: describe_response(model=UsageReport, example=_USAGE, content=_CSV)},
)
async def report(
    services: ServicesDep,
    caller: Writer,
    limit: PageSize,
    by: Annotated[By, Query(description="what a row is of")] = "day",
    since: FirstDay = None,
    until: EndDay = None,
    after: Annotated[Label, Query(max_length=257, description="the `next` of the page before")] = "",
    format: Annotated[Literal["json", "csv"], Query(description="csv: all rows, whatever `limit` says")] = "json",
) -> Response:
    """What the tenant's questions used, by day, key or user, in the order of their names.

    Days without questions have no row. A question counts for the day on which its answer ended, in UTC, about a second
    later. Searches are not counted.
    """
    period = Period(since, until)
    if format == "csv":
        first = await services.usage.page(caller.tenant_id, by, period, after=after, limit=_ROWS)
        rows = _as_csv(services.usage, caller.tenant_id, by, period, first)
        return StreamingResponse(rows, media_type="text/csv; charset=utf-8")
    page = await services.usage.page(caller.tenant_id, by, period, after=after, limit=limit)
    stored = await services.usage.stored(caller.tenant_id)
    found = {"by": by, "since": since, "until": until, "used": page.rows, "stored": stored, "next": page.next}
    return Response(UsageReport.model_validate(found).model_dump_json(), media_type="application/json")


async def _as_csv(
    reports: UsageReports, tenant_id: str, by: By, period: Period, page: Page[UsedBy]
) -> AsyncIterator[str]:
    """`page`: the first one, which was read before the answer began, so that a failure has its status."""
    yield _line((by, *COUNTS))
    yield "".join(_line(astuple(row)) for row in page.rows)
    while page.next is not None:
        page = await reports.page(tenant_id, by, period, after=page.next, limit=_ROWS)
        yield "".join(_line(astuple(row)) for row in page.rows)


def _line(cells: tuple[object, ...]) -> str:
    written = io.StringIO()
    csv.writer(written).writerow(cells)
    return written.getvalue()
