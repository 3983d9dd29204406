"""Functions that a model in vLLM may call: what holds its answer to them, and the calls that are in its text.

An answer that must call is held to a JSON schema, which any model can be. An answer that may call writes calls as its
model was trained to, and one of vLLM's parsers reads them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest, ChatCompletionToolsParam
from vllm.parser.parser_manager import ParserManager
from vllm.sampling_params import StructuredOutputsParams
from vllm.tool_parsers import ToolParserManager
from vllm.tool_parsers.utils import get_json_schema_from_tools

from deployments.errors import InvalidRequest
from deployments.generation.tool_calls import as_template_has_them, call_reader
from deployments.types import Sampling, ToolCallDelta, Tools


class PlainText:
    """An answer without calls. `skips_special_tokens`: whether its text is without the model's control tokens."""

    skips_special_tokens = True

    def __init__(self, sampling: Sampling) -> None:
        schema = sampling.json_schema
        self.structure = None if schema is None else StructuredOutputsParams(json=schema)

    def read(self, text: str, token_ids: Sequence[int], *, finished: bool) -> tuple[str, tuple[ToolCallDelta, ...]]:
        """The next output of the engine as text and calls."""
        return text, ()


class HeldToCalls(PlainText):
    """An answer that is nothing but calls."""

    def __init__(self, tools: Tools) -> None:
        self.structure = StructuredOutputsParams(json=_schema(tools))
        self._reader = call_reader(tools)

    def read(self, text: str, token_ids: Sequence[int], *, finished: bool) -> tuple[str, tuple[ToolCallDelta, ...]]:
        return "", tuple(self._reader.feed(text))


class Parsed(PlainText):
    """An answer in which one of vLLM's parsers looks for calls."""

    def __init__(self, tools: Tools, parser: str, tokenizer: Any, prompt: list[int]) -> None:
        listed = [_of_vllm(tool) for tool in as_template_has_them(tools)]
        chosen: Any = tools.choice
        if tools.choice == "named":
            chosen = {"type": "function", "function": {"name": tools.functions[0].name}}
        request = ChatCompletionRequest(model="", messages=[], tools=listed, tool_choice=chosen)
        self._parser = ParserManager.get_parser(parser, enable_auto_tools=True)(tokenizer, listed)
        self._request = self._parser.adjust_request(request)
        self._prompt: list[int] | None = prompt
        self._max_calls = tools.max_calls
        self.structure = self._request.structured_outputs
        self.skips_special_tokens = self._request.skip_special_tokens

    def read(self, text: str, token_ids: Sequence[int], *, finished: bool) -> tuple[str, tuple[ToolCallDelta, ...]]:
        prompt, self._prompt = self._prompt, None
        found = self._parser.parse_delta(text, list(token_ids), self._request, prompt, finished=finished)
        if found is None:
            return "", ()
        calls = tuple(
            ToolCallDelta(call.index, call.id or "", function.name or "", function.arguments or "")
            for call in found.tool_calls
            if (function := call.function) is not None and call.index < self._max_calls
        )
        return found.content or "", calls


class ToolCalling:
    """`parser`: the name of one of vLLM's, or None if the model's own way to call is not known. Raises ValueError for
    one that vLLM does not have."""

    def __init__(self, parser: str | None, tokenizer: Any) -> None:
        self._parser = parser
        self._tokenizer = tokenizer
        self._reads_all = False
        """Whether the parser reads also what must be called: no JSON would, with this model."""
        if parser is not None:
            known = ToolParserManager.list_registered()
            if parser not in known:
                raise ValueError(f"generation.tool_call_parser: {parser!r} is none of vLLM's: {', '.join(known)}")
            self._reads_all = not ToolParserManager.get_tool_parser(parser).supports_required_and_named

    def answer(self, sampling: Sampling, tools: Tools | None, prompt: list[int]) -> PlainText:
        """For an answer to the prompt with these token ids. Raises InvalidRequest."""
        if tools is None:
            return PlainText(sampling)
        if self._parser is None and tools.choice == "auto":
            raise InvalidRequest(
                "tool_choice: auto needs generation.tool_call_parser, which is not set; send required, or name a "
                "function",
                field="tool_choice",
            )
        try:
            if self._parser is not None and (tools.choice == "auto" or self._reads_all):
                return Parsed(tools, self._parser, self._tokenizer, prompt)
            return HeldToCalls(tools)
        except ValueError as error:  # definitions of one name that differ
            raise InvalidRequest(f"tools: {error}", field="tools") from None
        except (AttributeError, KeyError, TypeError) as error:  # vLLM reads schemas without a check of their form
            raise InvalidRequest(
                f"tools: vLLM cannot read the schema of the parameters: {error}; send a valid JSON schema",
                field="tools",
            ) from None


def _of_vllm(tool: Mapping[str, Any]) -> ChatCompletionToolsParam:
    return ChatCompletionToolsParam.model_validate(tool)


def _schema(tools: Tools) -> str:
    """What an answer fits that must call; see `tool_calls.py`."""
    if tools.choice == "named":
        return tools.functions[0].parameters
    listed = [_of_vllm(tool) for tool in as_template_has_them(tools)]
    schema: Any = get_json_schema_from_tools("required", listed)
    return json.dumps(schema | {"maxItems": tools.max_calls}, ensure_ascii=False)
