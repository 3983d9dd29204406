"""A deterministic engine without a model: it echoes the question word by word, at a configured pace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

from deployments.errors import InvalidRequest, Overloaded
from deployments.generation.active_queries import ActiveQueries, ActiveQuery
from deployments.generation.config import GenerationConfig
from deployments.generation.stop_sequences import StopScanner
from deployments.types import GenerationLoad, GenerationRequest, StageStatus, TextDelta, Usage


class FakeEngine:
    """Behaves like a real engine in all but the words: slots, a bounded queue, aborts, usage, length limits."""

    def __init__(self, config: GenerationConfig) -> None:
        self._config = config
        self._queries = ActiveQueries(config)
        self._running = 0
        self._changed = asyncio.Event()

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[TextDelta, None]:
        """Each delta is one word of the question. A token is a word."""
        if request.sampling.json_schema is not None:
            raise InvalidRequest("response_format: the fake engine answers in text only", field="response_format")
        if request.tools is not None:
            raise InvalidRequest("tools: the fake engine calls no functions; leave it out", field="tools")
        if len(self._queries) >= self._config.max_num_seqs + self._config.max_waiting:
            raise Overloaded("generation: the engine's queue is full; try again later or raise generation.max_waiting")
        with self._queries.enter(request) as query:
            prompt_tokens = _words(request.continued) + sum(_words(message.content) for message in request.messages)
            words = request.question.split()
            stop = StopScanner(request.stop)
            words_sent = 0
            async with self._slot(query):
                for word in words[: request.max_tokens]:
                    await asyncio.sleep(self._config.fake_delay_ms / 1000)
                    if query.cancelled:
                        break
                    text = stop.feed(f" {word}" if words_sent else word)
                    words_sent += 1
                    if text:
                        counted = Usage(prompt_tokens, words_sent) if request.sampling.counted else None
                        yield TextDelta(text, usage=counted)
                    if stop.met:
                        break
            usage = Usage(prompt_tokens, words_sent)
            if query.cancelled:
                yield TextDelta("", "cancelled", usage)
            else:
                yield TextDelta(stop.rest(), "stop" if stop.met or words_sent == len(words) else "length", usage)

    async def abort(self, tenant_id: str, query_id: str) -> bool:
        is_here = self._queries.abort(tenant_id, query_id)
        self._wake()
        return is_here

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [_words(text) for text in texts]

    async def load(self) -> GenerationLoad:
        return GenerationLoad(running=self._running, waiting=len(self._queries) - self._running)

    async def status(self) -> StageStatus:
        return StageStatus(ready=True, engine="fake")

    @asynccontextmanager
    async def _slot(self, query: ActiveQuery) -> AsyncIterator[None]:
        """Hold one of `max_num_seqs` slots. A query that is aborted while it waits goes on without one."""
        while not query.cancelled and self._running >= self._config.max_num_seqs:
            await self._changed.wait()
        has_slot = not query.cancelled
        self._running += has_slot
        try:
            yield
        finally:
            self._running -= has_slot
            self._wake()

    def _wake(self) -> None:
        """Have all waiting queries look for a slot again."""
        self._changed.set()
        self._changed = asyncio.Event()


def _words(text: str) -> int:
    return len(text.split())
