"""The embedding stage as a deployment: vectors of many texts in one call, with questions ahead of passages."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from deployments.embedding.averaging import mean
from deployments.embedding.base import Embedder, create
from deployments.embedding.config import EmbeddingConfig
from deployments.embedding.language_shift import LanguageShifts, knows_both
from deployments.errors import InvalidRequest, RagError, StageUnavailable
from deployments.inference.batching import Batcher
from deployments.inference.input_checks import check_texts
from deployments.inference.packing import PassLimits
from deployments.inference.windows import Window
from deployments.late_interaction import MAX_QUESTION_TOKENS, ForeignShift, nearest_tokens, pack
from deployments.lexical import known_language
from deployments.replica import replica_id
from deployments.stage_times import StageTimes
from deployments.startup import gc_paused
from deployments.telemetry import spans, tracing
from deployments.telemetry.config import TelemetryConfig
from deployments.telemetry.metrics import NO_RECORDER, Recorder
from deployments.telemetry.stage_spans import traced
from deployments.types import (
    EmbedderIdentity,
    EmbedderInfo,
    Embeddings,
    LanguageShift,
    Matrix,
    Similarities,
    StageStatus,
    TextKind,
    Vector,
)

PASSAGE_NICENESS = 10
"""What passages' threads add to the process's niceness. On Linux' scale 19 is the lowest priority."""


class _Input(NamedTuple):
    """A window, and whether its token vectors are asked for. `tokens` counts as the window does."""

    window: Window
    with_tokens: bool

    @property
    def tokens(self) -> int:
        return self.window.tokens


class _Encoded(NamedTuple):
    """A window's unit vector, and its token vectors: a matrix for a question, packed for a passage, else None."""

    vector: Vector
    tokens: Any = None


class Embedding:
    """One embedder, on threads of its own. Texts of concurrent calls share forward passes.

    Questions and passages have separate threads and never share a pass, so a question never waits for passages.
    Passages' threads have a lower priority: during heavy ingestion a question is embedded about as fast as alone.
    """

    def __init__(
        self,
        config: EmbeddingConfig,
        token_vectors: bool = True,
        recorder: Recorder = NO_RECORDER,
        telemetry: TelemetryConfig | None = None,
    ) -> None:
        """`token_vectors`: whether the index has a use for them."""
        tracing.start(telemetry, "embedding", replica=replica_id())
        self._times = StageTimes("embedding", recorder)
        self._config = config
        self._token_vectors = token_vectors
        with gc_paused():
            self._embedder = embedder = create(config)
            self._batches: dict[TextKind, _KindBatcher] = {
                "query": _KindBatcher(embedder, config, "query", recorder, workers=1),
                "passage": _KindBatcher(
                    embedder,
                    config,
                    "passage",
                    recorder,
                    workers=embedder.concurrent_passes,
                    initializer=_lower_priority,
                ),
            }
            for batches in self._batches.values():
                batches.warm_up()
            is_model = config.backend != "fake"
            self._shifts = LanguageShifts(embedder) if is_model and knows_both(config.known_languages) else None
            # Sentences have a batcher of their own: questions must not wait for them, nor they for passages.
            self._sentences = _KindBatcher(embedder, config, "passage", recorder, workers=1, work="sentence")

    @traced(spans.EMBEDDINGS)
    async def embed(self, texts: Sequence[str], kind: TextKind, with_tokens: bool = False) -> Embeddings:
        """The texts' unit vectors, shape (texts, dimension), in order.

        `with_tokens`: also token vectors, if the index uses them, and a single question's shift to the other language
        if its words tell its own.

        A text longer than the model reads is embedded in windows, never silently cut off. Raises InvalidRequest for too
        many texts or one too long, Overloaded if too many texts wait already, StageUnavailable if the model fails.
        """
        with self._times.call(kind):
            encoded = await self._encoded(self._batches[kind], texts, with_tokens=with_tokens and self._token_vectors)
        info = self._embedder.info
        of_question, of_passages = (encoded.tokens, ()) if kind == "query" else ((), encoded.tokens)
        is_for_search = kind == "query" and with_tokens and len(texts) == 1
        return Embeddings(
            encoded.vectors,
            info.fingerprint,
            info.languages,
            question_tokens=np.concatenate(of_question)[:MAX_QUESTION_TOKENS] if of_question else None,
            passage_tokens=of_passages,
            shift=self._shifts.of(texts[0]) if self._shifts is not None and is_for_search else None,
        )

    @traced(spans.SIMILARITIES)
    async def similarities(self, question: str, sentences: Sequence[str]) -> Similarities:
        """How near each sentence is to the question. Raises what `embed` raises."""
        with self._times.call("sentence"):
            of_question, of_sentences = await asyncio.gather(
                self._encoded(self._batches["query"], [question], with_tokens=True),
                self._encoded(self._sentences, sentences, with_tokens=True),
            )
            shift = self._shifts.of(question) if self._shifts is not None else None
            return await asyncio.to_thread(self._similarities, of_question, of_sentences, sentences, shift)

    def _similarities(
        self, question: _EncodedTexts, sentences: _EncodedTexts, texts: Sequence[str], shift: LanguageShift | None
    ) -> Similarities:
        """`texts`: the sentences. `shift`: for those whose words tell that they are of the other language."""
        (vector,) = question.vectors
        cosines = sentences.vectors @ vector
        of_foreign = None
        if shift is not None:
            of_foreign = ForeignShift(shift, [known_language(text) == shift.language for text in texts])
            cosines = np.where(of_foreign.foreign, sentences.vectors @ shift.shifted(vector), cosines)
        nearest = None
        if question.tokens and len(sentences.tokens) == len(texts):
            tokens = np.concatenate(question.tokens)[:MAX_QUESTION_TOKENS]
            nearest = nearest_tokens(tokens, sentences.tokens, of_foreign)
        return Similarities(tuple(cosines.tolist()), self._embedder.info.model, nearest)

    async def count_tokens(self, texts: Sequence[str], kind: TextKind) -> list[int]:
        """Tokens that the model reads for each text, special ones and a prompt's included.

        Raises InvalidRequest as `embed` does.
        """
        self._check(texts)
        return await asyncio.to_thread(self._embedder.count_tokens, texts, kind)

    async def describe(self) -> EmbedderInfo:
        return self._embedder.info

    async def identify(self) -> EmbedderIdentity:
        """As `describe`, without the tokenizer, which may have megabytes."""
        return self._embedder.info.identity

    async def status(self) -> StageStatus:
        return StageStatus(
            ready=not self._failed,
            engine=self._config.backend,
            model=self._embedder.info.model,
            detail="the last call failed" if self._failed else None,
        )

    async def check_health(self) -> None:
        """Raises StageUnavailable if the model failed and fails again: a broken GPU context never recovers."""
        if self._failed:
            await self.embed(["health check"], "query")

    def __del__(self) -> Coroutine[Any, Any, None] | None:
        """Serve calls this after the replica's last request, before it ends the process."""
        return tracing.end_of_replica()

    @property
    def _failed(self) -> bool:
        return any(batches.last_pass_failed for batches in self._batches.values())

    async def _encoded(
        self, batches: _KindBatcher, texts: Sequence[str], *, with_tokens: bool = False
    ) -> _EncodedTexts:
        self._check(texts)
        try:
            return await batches.encoded(texts, with_tokens)
        except RagError:
            raise
        except Exception as error:
            raise StageUnavailable(
                f"embedding.model {self._embedder.info.model!r} failed; try again",
                internal=f"{type(error).__name__}: {error}",
            ) from error

    def _check(self, texts: Sequence[str]) -> None:
        if len(texts) > self._config.max_texts:
            raise InvalidRequest(
                f"texts: {len(texts):,} given, at most {self._config.max_texts:,} in one call; split them"
            )
        check_texts("texts", texts, self._config.max_text_characters)


class _EncodedTexts(NamedTuple):
    """The texts' unit vectors, shape (texts, dimension), and their token vectors.

    For questions a matrix of each window; for passages the packed bytes of each, empty for one of several windows.
    """

    vectors: Matrix
    tokens: tuple[Any, ...]


class _KindBatcher:
    """Embeds texts of one kind: splits them on one thread, and runs their passes on others."""

    def __init__(
        self,
        embedder: Embedder,
        config: EmbeddingConfig,
        kind: TextKind,
        recorder: Recorder,
        *,
        workers: int,
        work: str = "",
        initializer: Callable[[], None] | None = None,
    ) -> None:
        self._split = partial(embedder.split, kind=kind)
        self._embedder = embedder
        self._kind = kind
        self._dimension = embedder.info.dimension
        self._split_thread = ThreadPoolExecutor(1, thread_name_prefix=f"split {kind}", initializer=initializer)
        self._pass_threads = ThreadPoolExecutor(workers, thread_name_prefix=kind, initializer=initializer)
        self._batcher = Batcher[_Input, _Encoded](
            "embedding",
            self._forward,
            self._pass_threads,
            workers=workers,
            limits=PassLimits(config.batch_size, config.batch_tokens),
            max_waiting=config.max_waiting,
            work=work or kind,
            recorder=recorder,
        )

    @property
    def last_pass_failed(self) -> bool:
        return self._batcher.failed

    def warm_up(self) -> None:
        """Run one pass on a thread for passes. The first pass of a process takes far longer than later ones."""
        (windows,) = self._split(["warm up"])
        self._pass_threads.submit(self._forward, [_Input(window, False) for window in windows]).result()

    async def encoded(self, texts: Sequence[str], with_tokens: bool) -> _EncodedTexts:
        loop = asyncio.get_running_loop()
        windows_per_text = await loop.run_in_executor(self._split_thread, self._split, texts)
        inputs = [_Input(window, with_tokens) for windows in windows_per_text for window in windows]
        encoded = await self._batcher.results(inputs)
        vectors: Matrix = np.array([window.vector for window in encoded], dtype=np.float32).reshape(-1, self._dimension)
        tokens = tuple(window.tokens for window in encoded if window.tokens is not None)
        if len(vectors) != len(texts):
            vectors = await loop.run_in_executor(self._split_thread, mean, windows_per_text, vectors)
            if self._kind == "passage" and tokens:
                of_window = iter(tokens)
                of_texts = [[next(of_window) for _ in windows] for windows in windows_per_text]
                tokens = tuple(packed[0] if len(packed) == 1 else b"" for packed in of_texts)
        return _EncodedTexts(vectors, tokens)

    def _forward(self, inputs: Sequence[_Input]) -> list[_Encoded]:
        """One pass. Blocks."""
        windows = [each.window for each in inputs]
        asked = any(each.with_tokens for each in inputs)
        found = self._embedder.forward_tokens(windows, self._kind) if asked else None
        if found is None:
            return [_Encoded(vector) for vector in self._embedder.forward(windows, self._kind)]
        return [
            _Encoded(vector, (tokens if self._kind == "query" else pack(tokens)) if each.with_tokens else None)
            for each, vector, tokens in zip(inputs, found.vectors, found.tokens, strict=True)
        ]


def _lower_priority() -> None:
    """Lower the calling thread's priority. Not on other systems than Linux: there it would be the whole process's."""
    if sys.platform == "linux":
        os.nice(PASSAGE_NICENESS)
