"""Ask, search and chat: what may be asked, the pipeline's run of it, and the record of how it ended."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from deployments.errors import InvalidRequest, Overloaded, RagError
from deployments.lexical import detect_language
from deployments.types import Message as ChatMessage
from deployments.types import Scope, Usage
from serve_app.admission.protocol import AdmissionLimits
from serve_app.admission.rate_limits import RateLimitStatus
from serve_app.admission.replica import ReplicaAdmission
from serve_app.admission.slots import Slot
from serve_app.platform.collections import Collections
from serve_app.platform.events import Event, Events, EventType
from serve_app.platform.query_log import QueryOutcome
from serve_app.query.answer_events import AnswerEvent, Chunk, Citation, Complete, Source, Sources
from serve_app.query.deadline import Deadline
from serve_app.query.pipeline import Pipeline
from serve_app.query.request import Query
from serve_app.schemas.queries import Answer, Found, QueryRequest, SearchRequest
from serve_app.services.access import Access
from serve_app.services.limits import RequestLimits


@dataclass(frozen=True, slots=True)
class AdmittedQuery:
    """A query that may be answered now. `slot` is its slot in generation.

    Without one, `overloaded` says why, and the pipeline's fallback answers.
    """

    query: Query
    slot: Slot | None
    overloaded: Overloaded | None = None


class FieldNames(NamedTuple):
    """What the caller's API calls these fields; refusals name them so."""

    query: str
    max_tokens: str


OWN_FIELD_NAMES = FieldNames("query", "max_tokens")


@dataclass(frozen=True, slots=True)
class QueryService:
    """A query is validated, then given a slot in generation, then answered: `answer` and `chat` free the slot."""

    pipeline: Pipeline
    admission: ReplicaAdmission
    collections: Collections
    events: Events
    limits: RequestLimits

    async def count_request(self, caller: Access) -> None:
        """Count a request against the tenant's rate. Raises RateLimited."""
        await self.admission.spend(caller.tenant_id, self._admission_limits(caller))

    def rate_status(self, caller: Access) -> RateLimitStatus | None:
        """The rest of the tenant's rate; None where it has no limit."""
        return self.admission.rate_status(caller.tenant_id)

    async def ask(self, caller: Access, request: QueryRequest, deadline_s: float) -> AdmittedQuery:
        """Validate a question and wait for its slot in generation. No stage works for a question that is refused here.

        Raises as `validate` and `acquire_slot`.
        """
        return await self.acquire_slot(caller, await self.validate(caller, request, deadline_s))

    async def validate(
        self, caller: Access, request: SearchRequest, deadline_s: float, *, names: FieldNames = OWN_FIELD_NAMES
    ) -> Query:
        """Raises InvalidRequest, InvalidFilter, UnknownCollection."""
        config, settings = self.limits.config, caller.tenant.settings
        text = request.query.strip()
        if not text:
            raise InvalidRequest(f"{names.query} is empty; send the question's text", field=names.query)
        self.limits.check_query_length(request.query, field=names.query)
        self.limits.check_collections(request.collections)
        condition = self.limits.filter(request.filter)
        top_k = self.limits.top_k(request.top_k, settings.limits)
        sampling: dict[str, Any] = {"max_tokens": 1}
        if isinstance(request, QueryRequest):
            sampling = {
                "max_tokens": self.limits.max_tokens(request.max_tokens, settings.limits, field=names.max_tokens),
                "temperature": request.temperature,
                "seed": request.seed,
            }
        await self.collections.require(caller.tenant_id, request.collections)
        return Query(
            id=uuid.uuid4().hex,
            text=text,
            language=request.language or detect_language(text, settings.default_language or config.default_language),
            scope=Scope(caller.tenant_id, request.user or "", tuple(sorted(set(request.collections))), condition),
            top_k=top_k,
            candidates=max(config.candidates, top_k),
            deadline_s=self.limits.deadline_s(deadline_s, settings.limits),
            first_token_s=config.first_token_s,
            preamble=settings.prompt_preamble,
            model=settings.model or "",
            **sampling,
        )

    def validate_chat(
        self,
        caller: Access,
        text: str,
        *,
        user: str | None,
        max_tokens: int | None,
        deadline_s: float,
        names: FieldNames,
    ) -> Query:
        """The query for `chat`. `text` is the last user message: engines that read no messages answer that.

        Raises InvalidRequest.
        """
        config, settings = self.limits.config, caller.tenant.settings
        return Query(
            id=uuid.uuid4().hex,
            text=text,
            language=detect_language(text, settings.default_language or config.default_language),
            scope=Scope(caller.tenant_id, user or ""),
            top_k=0,
            candidates=0,
            max_tokens=self.limits.max_tokens(max_tokens, settings.limits, field=names.max_tokens),
            deadline_s=self.limits.deadline_s(deadline_s, settings.limits),
            first_token_s=config.first_token_s,
        )

    async def acquire_slot(self, caller: Access, query: Query, *, from_documents: bool = True) -> AdmittedQuery:
        """Wait for a slot in generation; the wait is part of the query's deadline.

        Raises RateLimited. Raises Overloaded, unless the query is answered `from_documents` and the pipeline has a
        fallback, which needs no slot.
        """
        deadline, slot, overloaded = Deadline(query.deadline_s), None, None
        try:
            slot = await self.admission.acquire_slot(caller.tenant_id, self._admission_limits(caller), deadline)
        except Overloaded as error:
            if self.pipeline.fallback is None or not from_documents:
                raise
            overloaded = error
        return AdmittedQuery(replace(query, deadline_s=deadline.remaining()), slot, overloaded)

    def answer(self, admitted: AdmittedQuery) -> AsyncGenerator[AnswerEvent]:
        """The pipeline's messages. However it ends, the slot is then free and the outcome published."""
        return self._record_outcome(admitted, self.pipeline.answer(admitted.query, no_slot=admitted.overloaded))

    def chat(self, admitted: AdmittedQuery, conversation: Sequence[ChatMessage]) -> AsyncGenerator[AnswerEvent]:
        """A model's answer to messages as they are, without documents. Ends as `answer` does."""
        return self._record_outcome(admitted, self.pipeline.chat(admitted.query, conversation))

    async def whole_answer(self, admitted: AdmittedQuery) -> Answer:
        """The answer as one object."""
        text: list[str] = []
        sources: Sequence[Source] = ()
        citations: list[Citation] = []
        complete: Complete | None = None
        async with aclosing(self.answer(admitted)) as messages:
            async for message in messages:
                match message:
                    case Sources():
                        sources = message.sources
                    case Chunk():
                        text.append(message.content)
                    case Citation():
                        citations.append(message)
                    case Complete():
                        complete = message
        if complete is None:
            raise AssertionError("an answer that does not fail ends with Complete")
        return Answer.of("".join(text), sources, citations, complete)

    async def search(self, query: Query) -> Found:
        """Passages without an answer, best first, with each stage's score."""
        return Found.of(query.id, await self.pipeline.search(query))

    def cancel(self, caller: Access, query_id: str) -> None:
        """Stop a query of the caller's tenant, whichever replica works on it; its stream ends as `cancelled`."""
        self.pipeline.generator.abort(caller.tenant_id, query_id)

    async def _record_outcome(
        self, admitted: AdmittedQuery, answer: AsyncGenerator[AnswerEvent]
    ) -> AsyncGenerator[AnswerEvent]:
        sources, complete, outcome = 0, None, "cancelled"
        try:
            async with aclosing(answer) as messages:
                async for message in messages:
                    if isinstance(message, Sources):
                        sources = len(message.sources)
                        if admitted.slot is not None:
                            admitted.slot.mark_generating()
                    elif isinstance(message, Complete):
                        complete, outcome = message, message.finish_reason
                    yield message
        except RagError as error:
            outcome = error.code
            raise
        except Exception:
            outcome = RagError.code
            raise
        finally:
            if admitted.slot is not None:
                admitted.slot.release(answered=complete is not None)
            self._publish(admitted.query, outcome, complete, sources)

    def _publish(self, query: Query, outcome: str, complete: Complete | None, sources: int) -> None:
        usage = complete.usage if complete else Usage()
        details = QueryOutcome(
            user=query.scope.user_id,
            language=query.language,
            outcome=outcome,
            engine=complete.engine if complete else None,
            sources=sources,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            timings=dict(complete.timings) if complete else {},
        )
        kind: EventType = "query.cancelled" if outcome == "cancelled" else "query.failed"
        if complete is not None and outcome != "cancelled":
            kind = "query.completed"
        self.events.publish(Event(kind, query.scope.tenant_id, query.id, asdict(details)))

    def _admission_limits(self, caller: Access) -> AdmissionLimits:
        """The tenant's own limits, and where it has none the service's."""
        settings, defaults = caller.tenant.settings, self.admission.config
        return AdmissionLimits(
            settings.weight,
            settings.limits.requests_per_minute or defaults.requests_per_minute,
            settings.limits.concurrent or defaults.concurrent,
        )
