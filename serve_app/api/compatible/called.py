"""The calls that an answer makes, as OpenAI's API has them: whole, and in the parts of a stream."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from deployments.types import ToolCall, ToolCallDelta
from serve_app.query.answer_events import Chunk, RawChunk


@dataclass(slots=True)
class CallsSoFar:
    """The calls of which parts have come, in the order in which they began."""

    calls: list[ToolCall] = field(default_factory=list)
    _places: dict[int, int] = field(default_factory=dict)
    """In `calls`, by the index that the engine gives the call. A parser may leave some out."""

    def __bool__(self) -> bool:
        return bool(self.calls)

    def add(self, parts: Iterable[ToolCallDelta]) -> list[ToolCallDelta]:
        """The parts, each with its call's place as its index."""
        placed = [replace(part, index=self._places.setdefault(part.index, len(self._places))) for part in parts]
        for part in placed:
            if part.index == len(self.calls):
                self.calls.append(ToolCall(part.id, part.name, part.arguments))
            else:
                call = self.calls[part.index]
                self.calls[part.index] = replace(call, arguments=call.arguments + part.arguments)
        return placed

    def as_json(self) -> list[dict[str, Any]]:
        return [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in self.calls
        ]


def calls_of(chunk: Chunk) -> tuple[ToolCallDelta, ...]:
    return chunk.tool_calls if isinstance(chunk, RawChunk) else ()


def call_part(part: ToolCallDelta) -> dict[str, Any]:
    function = {"arguments": part.arguments}
    if not part.id:
        return {"index": part.index, "function": function}
    return {"index": part.index, "id": part.id, "type": "function", "function": {"name": part.name, **function}}
