"""A deterministic engine without a model: it echoes the question word by word, at the pace it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

from deployments.errors import Overloaded
from deployments.generation.active_queries import ActiveQueries, ActiveQuery
from deployments.generation.config import GenerationConfig
from deployments.generation.stop_sequences import StopScanner
from deployments.types import GenerationLoad, GenerationRequest, StageStatus, TextDelta, Usage


class FakeEngine:
    """Behaves like the real one in everything but the words: slots, a bounded queue, aborts, usage, length."""

    def __init__(self, config: GenerationConfig) -> None:
        self._config = config
        self._queries = ActiveQueries(config)
        self._running = 0
        self._changed = asyncio.Event()

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[TextDelta, None]:
        """One word of the question a delta; a token is a word."""
        if len(self._queries) >= self._config.max_num_seqs + self._config.max_waiting:
            raise Overloaded("generation: the engine's queue is full; try again later or raise generation.max_waiting")
        with self._queries.enter(request) as query:
            prompt_tokens = sum(_words(message.content) for message in request.messages)
            words = request.question.split()
            stop = StopScanner(request.stop)
            said = 0
            async with self._slot(query):
                for word in words[: request.max_tokens]:
                    await asyncio.sleep(self._config.fake_delay_ms / 1000)
                    if query.cancelled:
                        break
                    text = stop.feed(f" {word}" if said else word)
                    said += 1
                    if text:
                        yield TextDelta(text)
                    if stop.met:
                        break
            usage = Usage(prompt_tokens, said)
            if query.cancelled:
                yield TextDelta("", "cancelled", usage)
            else:
                yield TextDelta(stop.rest(), "stop" if stop.met or said == len(words) else "length", usage)

    async def abort(self, tenant_id: str, query_id: str) -> bool:
        here = self._queries.abort(tenant_id, query_id)
        self._wake()
        return here

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [_words(text) for text in texts]

    async def load(self) -> GenerationLoad:
        return GenerationLoad(running=self._running, waiting=len(self._queries) - self._running)

    async def status(self) -> StageStatus:
        return StageStatus(ready=True, engine="fake")

    @asynccontextmanager
    async def _slot(self, query: ActiveQuery) -> AsyncIterator[None]:
        """One of `max_num_seqs`; whoever is aborted while waiting goes through at once, to end its stream."""
        while not query.cancelled and self._running >= self._config.max_num_seqs:
            await self._changed.wait()
        taken = not query.cancelled
        self._running += taken
        try:
            yield
        finally:
            self._running -= taken
            self._wake()

    def _wake(self) -> None:
        """Let everyone who waits look again."""
        self._changed.set()
        self._changed = asyncio.Event()


def _words(text: str) -> int:
    return len(text.split())
