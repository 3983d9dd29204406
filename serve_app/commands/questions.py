"""Ask, find, stop."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from serve_app.commands.base import Call, Outcome, Streamed, TenantCommand, command
from serve_app.schemas.queries import Cancelling, QueryRequest, SearchRequest


@command("query")
class Ask(TenantCommand, QueryRequest):
    """Answer a question from the tenant's documents, with numbered citations and their sources."""

    needs = "query"
    asks = True

    stream: bool = Field(True, description="the answer's messages as they come; false: one result")

    @property
    def streams(self) -> bool:
        return self.stream

    async def run(self, call: Call) -> Outcome:
        await call.services.queries.count_request(call.caller)
        admitted = await call.services.queries.ask(call.caller, self, call.deadline_s)
        if self.stream:
            return Streamed(admitted.query.id, call.services.queries.answer(admitted), admitted.ending)
        return (await call.services.queries.collect_answer(admitted)).as_json()


@command("search")
class Find(TenantCommand, SearchRequest):
    """Find passages without generating: best first, with each stage's score."""

    needs = "query"
    asks = True

    async def run(self, call: Call) -> dict[str, Any]:
        await call.services.queries.count_request(call.caller)
        query = await call.services.queries.validate(call.caller, self, call.deadline_s)
        return (await call.services.queries.search(query)).as_json()


@command("cancel_query")
class CancelQuery(TenantCommand):
    """Stop a query of the tenant, whichever replica works on it; its stream ends as `cancelled`."""

    needs = "query"

    query_id: str = Field(pattern=r"^[0-9a-f]{32}$", examples=["0" * 32])

    async def run(self, call: Call) -> dict[str, Any]:
        call.services.queries.cancel(call.caller, self.query_id)
        return Cancelling(query_id=self.query_id, state="cancelling").as_json()
