"""A scripted engine that does what a request holds it to, so that clients' own checks of answers pass."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator

from deployments.types import GenerationRequest, TextDelta, ToolCallDelta, Usage
from tests.support.pipeline import Stages

WORDS = ("Rok je ", "15 dana ", "od dostave. ")


def obey(stages: Stages) -> None:
    """Answers of so many words as tokens are asked for; where JSON or a call is, the first value that fits."""
    stages.generate = _generate  # type: ignore[method-assign]


async def _generate(request: GenerationRequest) -> AsyncGenerator[TextDelta]:
    if request.tools is not None:
        function = request.tools.functions[0]
        arguments = json.dumps(_fitting(function.parameters))
        yield TextDelta("", "stop", Usage(10, 1), tool_calls=(ToolCallDelta(0, "call_1", function.name, arguments),))
    elif request.sampling.json_schema is not None:
        yield TextDelta(json.dumps(_fitting(request.sampling.json_schema)), "stop", Usage(10, 1))
    else:
        for count in range(request.max_tokens):
            so_far = Usage(10, count + 1) if request.sampling.counted else None
            yield TextDelta(WORDS[count % len(WORDS)], usage=so_far)
        yield TextDelta("", "length", Usage(10, request.max_tokens))


def _fitting(schema: str) -> dict[str, str]:
    """Of an object whose properties are lists of values."""
    return {name: values["enum"][0] for name, values in json.loads(schema)["properties"].items()}
