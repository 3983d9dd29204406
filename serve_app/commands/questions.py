"""Ask, find, stop."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from serve_app.commands.base import Call, Outcome, Streamed, TenantCommand, command
from serve_app.schemas.documents import QueryRequest, SearchRequest
from serve_app.services import queries as questions


@command("query")
class Ask(TenantCommand, QueryRequest):
    """Answer a question from the tenant's documents, with numbered citations and their sources."""

    needs = "query"

    stream: bool = Field(True, description="the answer's messages as they come; false: one result")

    @property
    def streams(self) -> bool:
        return self.stream

    async def run(self, call: Call) -> Outcome:
        await questions.spend(call.services, call.caller)
        asked = await questions.ask(call.services, call.caller, self, call.deadline_s)
        if self.stream:
            return Streamed(asked.query.id, questions.answer(call.services, asked))
        return await questions.whole(call.services, asked)


@command("search")
class Find(TenantCommand, SearchRequest):
    """Find passages without generating: best first, with each stage's score."""

    needs = "query"

    async def run(self, call: Call) -> dict[str, Any]:
        await questions.spend(call.services, call.caller)
        query = await questions.admit(call.services, call.caller, self, call.deadline_s)
        return await questions.search(call.services, query)


@command("cancel_query")
class CancelQuery(TenantCommand):
    """Stop a query of the tenant, whichever replica works on it; its stream ends as `cancelled`."""

    needs = "query"

    query_id: str = Field(pattern=r"^[0-9a-f]{32}$", examples=["0" * 32])

    async def run(self, call: Call) -> dict[str, Any]:
        questions.cancel(call.services, call.caller, self.query_id)
        return {"query_id": self.query_id, "state": "cancelling"}
