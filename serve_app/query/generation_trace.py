"""The span of an answer's generation, as the ingress sees it: from the request to the last text."""

from __future__ import annotations

import json

from opentelemetry.trace import SpanKind

from deployments.telemetry import spans, tracing
from deployments.telemetry.tracing import TraceHeaders
from deployments.types import StageStatus, TextDelta
from serve_app.query.prompt import Prompt
from serve_app.query.request import Query


class GenerationTrace:
    """Its span is nobody's current one: the answer is read by one task after the other. `end` ends it.

    `headers`: for the engine's spans. `error`: why the answer broke off.
    """

    def __init__(self, query: Query, prompt: Prompt, status: StageStatus) -> None:
        self.span = span = tracing.begin(spans.GENERATION, kind=SpanKind.CLIENT)
        self.headers: TraceHeaders = tracing.headers(span)
        self.error: BaseException | None = None
        self._has_begun = False
        self._text: list[str] | None = None
        if span.is_recording():
            span.set_attribute("gen_ai.operation.name", "chat")
            span.set_attribute("gen_ai.provider.name", status.engine)
            span.set_attribute("gen_ai.request.model", query.model or status.model or "")
            if tracing.keeps_content():
                self._text = []
                span.set_attribute("gen_ai.input.messages", _messages(prompt))

    def add(self, delta: TextDelta) -> None:
        if not self.span.is_recording():
            return
        if delta.text and not self._has_begun:
            self._has_begun = True
            self.span.add_event(spans.FIRST_TOKEN)
        if self._text is not None:
            self._text.append(delta.text)
        if delta.finish_reason is not None:
            self.span.set_attribute("gen_ai.response.finish_reasons", [delta.finish_reason])
            if (usage := delta.usage) is not None:
                self.span.set_attribute("gen_ai.usage.input_tokens", usage.prompt_tokens)
                self.span.set_attribute("gen_ai.usage.output_tokens", usage.completion_tokens)
                self.span.set_attribute("gen_ai.usage.cache_read.input_tokens", usage.cached_tokens)

    def end(self) -> None:
        if self._text is not None:
            self.span.set_attribute("gen_ai.output.messages", _json([("assistant", "".join(self._text))]))
        tracing.end(self.span, self.error)


def _messages(prompt: Prompt) -> str:
    if prompt.continued:
        return _json([("user", prompt.continued)])
    return _json([(message.role, message.content) for message in prompt.messages])


def _json(messages: list[tuple[str, str]]) -> str:
    """The messages as the conventions of OpenTelemetry write them."""
    parts = [{"role": role, "parts": [{"type": "text", "content": text}]} for role, text in messages]
    return json.dumps(parts, ensure_ascii=False)
