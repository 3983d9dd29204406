"""Questions, searches and chats: validates them, runs the pipeline, and publishes how each answer ended.

A *message* is a part of a chat's conversation. An *event* is a part of an answer's stream.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from deployments.errors import InvalidRequest, Overloaded, RagError
from deployments.lexical import detect_language
from deployments.telemetry import spans, tracing
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


@dataclass(slots=True)
class Ending:
    """Whether an answer has come to its end by itself. It says so from before its last event is handed on."""

    is_whole: bool = False


@dataclass(frozen=True, slots=True)
class AdmittedQuery:
    """A validated query, ready to be answered. Its deadline is what remains after the wait for a slot.

    Exactly one of `slot` and `overloaded` is set.
    """

    query: Query
    slot: Slot | None
    """The query's slot in generation. `answer`, `chat` and `complete` release it."""
    overloaded: Overloaded | None = None
    """Why there is no slot. The pipeline's fallback then answers, and needs none."""
    ending: Ending = field(default_factory=Ending)
    """Of the answer to the query."""


class FieldNames(NamedTuple):
    """The names of fields in the request. APIs name them differently, and errors must use the API's names."""

    query: str
    """The field with the question's text."""
    max_tokens: str
    """The field with the length of the answer."""
    answer_format: str = "response_format"
    """The field with the form of the answer."""


DEFAULT_FIELD_NAMES = FieldNames("query", "max_tokens")
"""The names in this service's own API, as opposed to the APIs that it is compatible with."""


@dataclass(frozen=True, slots=True)
class QueryService:
    """Answers queries in three steps: validate the query, acquire a slot in generation, answer it.

    `answer`, `chat` and `complete` release the slot at their end.
    """

    pipeline: Pipeline
    admission: ReplicaAdmission
    collections: Collections
    events: Events
    limits: RequestLimits

    async def count_request(self, caller: Access) -> None:
        """Count a request against the tenant's rate limit. Raises RateLimited."""
        await self.admission.count_request(caller.tenant_id, self._admission_limits(caller))

    def rate_status(self, caller: Access) -> RateLimitStatus | None:
        """How many requests the tenant's rate limit still allows. None if the tenant has no rate limit."""
        return self.admission.rate_status(caller.tenant_id)

    async def ask(self, caller: Access, request: QueryRequest, deadline_s: float) -> AdmittedQuery:
        """Validate a question and wait for its slot in generation. No stage is called before both have succeeded.

        Raises InvalidRequest, InvalidFilter, UnknownCollection, RateLimited, Overloaded.
        """
        return await self.acquire_slot(caller, await self.validate(caller, request, deadline_s))

    async def validate(
        self, caller: Access, request: SearchRequest, deadline_s: float, *, names: FieldNames = DEFAULT_FIELD_NAMES
    ) -> Query:
        """The query of a question or a search, with defaults for what the request leaves out.

        `deadline_s`: requested seconds from now; a tenant may have a lower limit. Raises InvalidRequest, InvalidFilter,
        UnknownCollection.
        """
        config, settings = self.limits.config, caller.tenant.settings
        text = request.query.strip()
        if not text:
            raise InvalidRequest(f"{names.query} is empty; send the question's text", field=names.query)
        self.limits.check_query_length(request.query, field=names.query)
        self.limits.check_collections(request.collections)
        condition = self.limits.parse_filter(request.filter)
        top_k = self.limits.resolve_top_k(request.top_k, settings.limits)
        of_answer: dict[str, Any] = {"max_tokens": 1}  # required by Query, and not used by a search
        if isinstance(request, QueryRequest):
            of_answer = {
                "max_tokens": self.limits.resolve_max_tokens(
                    request.max_tokens, settings.limits, field=names.max_tokens
                ),
                "temperature": request.temperature,
                "seed": request.seed,
                "history": tuple(ChatMessage(turn.role, turn.content) for turn in request.history),
            }
        await self.collections.require(caller.tenant_id, request.collections)
        return Query(
            id=uuid.uuid4().hex,
            text=text,
            language=request.language or detect_language(text, settings.default_language or config.default_language),
            scope=Scope(caller.tenant_id, request.user or "", tuple(sorted(set(request.collections))), condition),
            top_k=top_k,
            candidates=max(config.candidates, top_k),
            deadline_s=self.limits.cap_deadline(deadline_s, settings.limits),
            first_token_s=config.first_token_s,
            preamble=settings.prompt_preamble,
            model=settings.model or "",
            **of_answer,
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
        """The query for `chat` or `complete`. It searches nothing, so there is nothing to wait for.

        `text` is the last user message, or what `complete` is to continue. Engines that do not read messages, such as
        the extractive one, answer it. Its length is not checked here: the model's context limits the whole
        conversation. Raises InvalidRequest.
        """
        config, settings = self.limits.config, caller.tenant.settings
        return Query(
            id=uuid.uuid4().hex,
            text=text,
            language=detect_language(text, settings.default_language or config.default_language),
            scope=Scope(caller.tenant_id, user or ""),
            top_k=0,
            candidates=0,
            max_tokens=self.limits.resolve_max_tokens(max_tokens, settings.limits, field=names.max_tokens),
            deadline_s=self.limits.cap_deadline(deadline_s, settings.limits),
            first_token_s=config.first_token_s,
        )

    async def acquire_slot(self, caller: Access, query: Query, *, from_documents: bool = True) -> AdmittedQuery:
        """Wait for a slot in generation. The wait counts towards the query's deadline.

        Raises RateLimited, and Overloaded if there is no slot in time. A query that is answered `from_documents` is
        admitted without a slot instead, if the pipeline has a fallback.
        """
        deadline = Deadline(query.deadline_s)
        slot: Slot | None = None
        overloaded: Overloaded | None = None
        try:
            with tracing.span(spans.ADMISSION):
                slot = await self.admission.acquire_slot(caller.tenant_id, self._admission_limits(caller), deadline)
        except Overloaded as error:
            if self.pipeline.fallback is None or not from_documents:
                raise
            overloaded = error
        remaining_s = deadline.remaining()
        admitted = replace(query, deadline_s=remaining_s, waited_s=query.deadline_s - remaining_s)
        return AdmittedQuery(admitted, slot, overloaded)

    def answer(self, admitted: AdmittedQuery) -> AsyncGenerator[AnswerEvent]:
        """Answer from documents: Sources, then Chunks and Citations, then Complete. Raises RagError at any point.

        At its end the slot is released and the outcome is published, also if it fails or is closed early. Close it
        (`aclosing`) to cancel the query.
        """
        return self._record_outcome(admitted, self.pipeline.answer(admitted.query, no_slot=admitted.overloaded))

    def chat(self, admitted: AdmittedQuery, conversation: Sequence[ChatMessage]) -> AsyncGenerator[AnswerEvent]:
        """Send the conversation to the model as it is, without documents: Chunks, then Complete.

        Raises, ends and is closed like `answer`.
        """
        return self._record_outcome(admitted, self.pipeline.chat(admitted.query, conversation))

    def complete(self, admitted: AdmittedQuery) -> AsyncGenerator[AnswerEvent]:
        """Have the model continue the query's text: Chunks, then Complete. Raises, ends and is closed like `answer`."""
        return self._record_outcome(admitted, self.pipeline.complete(admitted.query))

    async def collect_answer(self, admitted: AdmittedQuery) -> Answer:
        """Run `answer` to its end, and return its events as one object. Raises RagError."""
        text: list[str] = []
        sources: Sequence[Source] = ()
        citations: list[Citation] = []
        complete: Complete | None = None
        async with aclosing(self.answer(admitted)) as events:
            async for event in events:
                match event:
                    case Sources():
                        sources = event.sources
                    case Chunk():
                        text.append(event.content)
                    case Citation():
                        citations.append(event)
                    case Complete():
                        complete = event
        if complete is None:
            raise AssertionError("an answer that does not fail ends with Complete")
        return Answer.of("".join(text), sources, citations, complete)

    async def search(self, query: Query) -> Found:
        """Passages without an answer, best first, with each stage's score. Needs no slot. Raises RagError."""
        return Found.of(query.id, await self.pipeline.search(query))

    def cancel(self, caller: Access, query_id: str) -> None:
        """Tell all generation replicas to stop a query of the caller's tenant, and return at once.

        The query's stream then ends with the finish reason `cancelled`. An unknown id is ignored.
        """
        self.pipeline.generator.abort(caller.tenant_id, query_id)

    async def _record_outcome(
        self, admitted: AdmittedQuery, answer: AsyncGenerator[AnswerEvent]
    ) -> AsyncGenerator[AnswerEvent]:
        """Pass on the events; at the end, release the slot and publish the outcome.

        The outcome is the finish reason, the error's code, or `cancelled` if the generator is closed before its end.
        """
        source_count = 0
        complete: Complete | None = None
        outcome = "cancelled"
        try:
            async with aclosing(answer) as events:
                async for event in events:
                    if isinstance(event, Sources):
                        source_count = len(event.sources)
                        if admitted.slot is not None:
                            admitted.slot.mark_generating()
                    elif isinstance(event, Complete):
                        complete, outcome = event, event.finish_reason
                        admitted.ending.is_whole = outcome != "cancelled"
                    yield event
        except RagError as error:
            outcome = error.code
            raise
        except Exception:
            outcome = RagError.code
            raise
        finally:
            if admitted.slot is not None:
                admitted.slot.release(answered=complete is not None)
            self._publish_outcome(admitted.query, outcome, complete, source_count)

    def _publish_outcome(self, query: Query, outcome: str, complete: Complete | None, source_count: int) -> None:
        usage = complete.usage if complete else Usage()
        details = QueryOutcome(
            user=query.scope.user_id,
            language=query.language,
            outcome=outcome,
            engine=complete.engine if complete else None,
            model=complete.model if complete else None,
            sources=source_count,
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            completion_tokens=usage.completion_tokens,
            degraded=complete.degraded if complete else (),
            timings=dict(complete.timings) if complete else {},
            trace_id=tracing.trace_id(),
        )
        event_type: EventType
        if outcome == "cancelled":
            event_type = "query.cancelled"
        elif complete is not None:
            event_type = "query.completed"
        else:
            event_type = "query.failed"
        self.events.publish(Event(event_type, query.scope.tenant_id, query.id, asdict(details)))

    def _admission_limits(self, caller: Access) -> AdmissionLimits:
        """The tenant's limits, with the service's default for each limit that the tenant does not set."""
        settings, defaults = caller.tenant.settings, self.admission.config
        return AdmissionLimits(
            settings.weight,
            settings.limits.requests_per_minute or defaults.requests_per_minute,
            settings.limits.concurrent or defaults.concurrent,
        )
