"""Ask and find, as routes and commands do it: what may be asked, the pipeline's run of it, and what is logged."""

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
from serve_app.admission.slots import Slot
from serve_app.platform.audit import QueryOutcome
from serve_app.platform.events import Event, EventType
from serve_app.query.answer_events import Chunk, Citation, Complete, Message, Sources, wire
from serve_app.query.deadline import Deadline
from serve_app.query.pipeline import Query
from serve_app.schemas.documents import QueryRequest, SearchRequest
from serve_app.services import limits as bounds
from serve_app.services.container import Access, Services


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that may be answered now. Where generation has no slot for it, `full` says so, and it is answered
    without."""

    query: Query
    slot: Slot | None
    full: Overloaded | None = None


class Names(NamedTuple):
    """What fields are called in the API that the caller speaks, for refusals that name them."""

    query: str
    max_tokens: str


OWN_NAMES = Names("query", "max_tokens")


async def spend(services: Services, caller: Access) -> None:
    """Count a question against the tenant's rate. Raises RateLimited."""
    await services.admission.spend(caller.tenant_id, admission_limits(services, caller))


async def ask(services: Services, caller: Access, asked: QueryRequest, deadline_s: float) -> Asked:
    """Everything that can refuse a question, the wait for a slot in generation too, before any stage works for it."""
    return await seat(services, caller, await admit(services, caller, asked, deadline_s))


async def seat(services: Services, caller: Access, query: Query, *, documents: bool = True) -> Asked:
    """A slot in generation; the wait for it is part of the deadline. Raises RateLimited, and Overloaded unless the
    question is one to `documents` and there is a fallback, which needs no slot."""
    deadline, slot, full = Deadline(query.deadline_s), None, None
    try:
        slot = await services.admission.acquire_slot(caller.tenant_id, admission_limits(services, caller), deadline)
    except Overloaded as error:
        if services.pipeline.fallback is None or not documents:
            raise
        full = error
    return Asked(replace(query, deadline_s=deadline.remaining()), slot, full)


async def admit(
    services: Services, caller: Access, asked: SearchRequest, deadline_s: float, *, names: Names = OWN_NAMES
) -> Query:
    """What can refuse a query by itself."""
    limits, settings = services.limits, caller.tenant.settings
    text = asked.query.strip()
    if not text:
        raise InvalidRequest(f"{names.query} is empty; send the question's text")
    if len(asked.query) > limits.max_query_characters:
        raise InvalidRequest(
            f"{names.query} has {len(asked.query)} characters; at most {limits.max_query_characters} are allowed"
        )
    if len(asked.collections) > limits.max_collections:
        raise InvalidRequest(
            f"collections names {len(asked.collections)}; at most {limits.max_collections} are allowed"
        )
    condition = bounds.condition(limits, asked.filter)
    top_k = _within("top_k", asked.top_k, limits.top_k, _least(limits.max_top_k, settings.limits.top_k))
    generating: dict[str, Any] = {"max_tokens": 1}
    if isinstance(asked, QueryRequest):
        most = _least(limits.max_max_tokens, settings.limits.max_tokens)
        generating = {
            "max_tokens": _within(names.max_tokens, asked.max_tokens, limits.max_tokens, most),
            "temperature": asked.temperature,
            "seed": asked.seed,
        }
    await services.collections.require(caller.tenant_id, asked.collections)
    return Query(
        id=uuid.uuid4().hex,
        text=text,
        language=asked.language or detect_language(text, settings.default_language or limits.default_language),
        scope=Scope(caller.tenant_id, asked.user or "", tuple(sorted(set(asked.collections))), condition),
        top_k=top_k,
        candidates=max(limits.candidates, top_k),
        deadline_s=bounds.deadline(settings.limits, deadline_s),
        first_token_s=limits.first_token_s,
        preamble=settings.prompt_preamble,
        model=settings.model or "",
        **generating,
    )


def admit_chat(
    services: Services,
    caller: Access,
    text: str,
    *,
    user: str | None,
    max_tokens: int | None,
    deadline_s: float,
    names: Names,
) -> Query:
    """What `chat` needs of a query; `text` is the conversation's last question, for what reads no messages."""
    limits, settings = services.limits, caller.tenant.settings
    most = _least(limits.max_max_tokens, settings.limits.max_tokens)
    return Query(
        id=uuid.uuid4().hex,
        text=text,
        language=detect_language(text, settings.default_language or limits.default_language),
        scope=Scope(caller.tenant_id, user or ""),
        top_k=0,
        candidates=0,
        max_tokens=_within(names.max_tokens, max_tokens, limits.max_tokens, most),
        deadline_s=bounds.deadline(settings.limits, deadline_s),
        first_token_s=limits.first_token_s,
    )


def answer(services: Services, asked: Asked) -> AsyncGenerator[Message]:
    """The pipeline's messages; when it ends, however it does, its slot is free and the query's event is published."""
    return _told(services, asked, services.pipeline.answer(asked.query, full=asked.full))


def chat(services: Services, asked: Asked, conversation: Sequence[ChatMessage]) -> AsyncGenerator[Message]:
    """The same of a model's answer to messages as they are, without documents."""
    return _told(services, asked, services.pipeline.chat(asked.query, conversation))


async def _told(services: Services, asked: Asked, answered: AsyncGenerator[Message]) -> AsyncGenerator[Message]:
    query = asked.query
    sources, complete, outcome = 0, None, "cancelled"
    try:
        async with aclosing(answered) as messages:
            async for message in messages:
                if isinstance(message, Sources):
                    sources = len(message.sources)
                    if asked.slot is not None:
                        asked.slot.mark_generating()
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
        if asked.slot is not None:
            asked.slot.release(answered=complete is not None)
        usage = complete.usage if complete else Usage()
        told = QueryOutcome(
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
        services.events.publish(Event(kind, query.scope.tenant_id, query.id, asdict(told)))


async def whole(services: Services, asked: Asked) -> dict[str, Any]:
    """The stream's messages folded into one object."""
    folded: dict[str, Any] = {"query_id": asked.query.id, "answer": "", "sources": [], "citations": []}
    async with aclosing(answer(services, asked)) as messages:
        async for message in messages:
            match message:
                case Sources():
                    folded["sources"] = wire(message)["sources"]
                case Chunk():
                    folded["answer"] += message.content
                case Citation():
                    folded["citations"].append({"sources": message.sources, "start": message.start, "end": message.end})
                case Complete():
                    folded |= {k: v for k, v in wire(message).items() if k not in ("type", "query_id")}
    return folded


async def search(services: Services, query: Query) -> dict[str, Any]:
    """Passages without an answer: best first, with each stage's score."""
    found = await services.pipeline.search(query)
    results = [
        {
            "id": candidate.passage.id,
            "document_id": candidate.passage.document_id,
            "title": candidate.passage.title,
            "text": candidate.passage.text,
            "metadata": candidate.passage.metadata,
            "score": candidate.scores.final,
            "scores": asdict(candidate.scores),
        }
        for candidate in found.candidates
    ]
    return {"query_id": query.id, "results": results, "timings": found.timings, "degraded": found.degraded}


def cancel(services: Services, caller: Access, query_id: str) -> None:
    """Stop a query of the caller's tenant, whichever replica works on it; its stream ends as `cancelled`."""
    services.pipeline.generate.abort(caller.tenant_id, query_id)


def admission_limits(services: Services, caller: Access) -> AdmissionLimits:
    """A tenant's own limits go before the service's."""
    settings, usual = caller.tenant.settings, services.admission.config
    return AdmissionLimits(
        settings.weight,
        settings.limits.requests_per_minute or usual.requests_per_minute,
        settings.limits.concurrent or usual.concurrent,
    )


def _least(limit: int, narrower: int | None) -> int:
    return limit if narrower is None else min(limit, narrower)


def _within(field: str, asked: int | None, default: int, most: int) -> int:
    if asked is not None and asked > most:
        raise InvalidRequest(f"{field} is {asked}; at most {most} is allowed")
    return asked or min(default, most)
