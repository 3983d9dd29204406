"""Functions that a real vLLM is made to call, and what its parsers find in a model's words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deployments.errors import InvalidRequest
from deployments.generation.config import GenerationConfig
from deployments.types import Sampling, TextDelta, Tool, ToolCallDelta, Tools
from tests.e2e.vllm.test_engine import ask, config, emptied, error_of, generation, stream
from tests.support.on_vllm import vllm

__all__ = ["config", "generation"]
pytestmark = [pytest.mark.timeout(900), pytest.mark.filterwarnings("default")]
SERVICE = vllm

MONTHS = ("siječanj", "veljača")
SCHEMA = {"$defs": {"Month": {"enum": [*MONTHS]}}, "type": "object", "properties": {"m": {"$ref": "#/$defs/Month"}},
          "required": ["m"], "additionalProperties": False}  # fmt: skip
REMEMBER, FORGET = Tool("zapamti", "Remember a month.", json.dumps(SCHEMA)), Tool("zaboravi", "", json.dumps(SCHEMA))


def joined(deltas: list[TextDelta]) -> dict[int, tuple[str, str]]:
    """Name and arguments by the call's index."""
    calls: dict[int, tuple[str, str]] = {}
    for part in [part for delta in deltas for part in delta.tool_calls]:
        name, arguments = calls.get(part.index, ("", ""))
        calls[part.index] = name + part.name, arguments + part.arguments
    return calls


@pytest.mark.parametrize(("tools", "most"), [
    (Tools((REMEMBER, FORGET), "required", 2), 2),
    (Tools((REMEMBER,), "named", 16), 1),
])  # fmt: skip
async def test_what_must_be_called_is_called_with_arguments_that_fit(generation: Any, tools: Tools, most: int) -> None:
    whole = 0
    for seed in range(3):
        request = ask(f"tools-{tools.choice}-{seed}", max_tokens=1_000, temperature=1.0, seed=seed, tools=tools)
        deltas = [delta async for delta in stream(generation, request)]
        assert "".join(delta.text for delta in deltas) == ""
        calls = joined(deltas)
        assert 1 <= len(calls) <= most
        if deltas[-1].finish_reason == "stop":
            whole += 1
            for name, arguments in calls.values():
                assert name in [function.name for function in tools.functions]
                assert json.loads(arguments)["m"] in MONTHS
    assert whole
    await emptied(generation)


async def test_the_functions_are_in_the_prompt(generation: Any) -> None:
    counts = []
    for functions in ((REMEMBER,), (REMEMBER, FORGET)):
        request = ask(f"prompt-{len(functions)}", max_tokens=4, tools=Tools(functions, "required", 1))
        *_, last = [delta async for delta in stream(generation, request)]
        assert last.usage is not None
        counts.append(last.usage.prompt_tokens)
    assert counts[1] - counts[0] > 20


async def test_what_may_be_called_needs_a_parser(generation: Any) -> None:
    error = await error_of(generation, ask("auto", tools=Tools((REMEMBER,), "auto", 16)))
    assert isinstance(error, InvalidRequest)
    assert error.field == "tool_choice"
    assert "generation.tool_call_parser" in error.message
    await emptied(generation)


async def test_definitions_that_differ_cannot_be_one_grammar(generation: Any) -> None:
    other = json.dumps(SCHEMA | {"$defs": {"Month": {"enum": ["ožujak"]}}})
    tools = Tools((REMEMBER, Tool("zaboravi", "", other)), "required", 16)
    error = await error_of(generation, ask("differ", tools=tools))
    assert isinstance(error, InvalidRequest)
    assert (error.field, "Month" in error.message) == ("tools", True)


HERMES = 'Dobro.\n<tool_call>\n{"name": "zapamti", "arguments": {"m": "siječanj"}}\n</tool_call>'


@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_a_parser_of_vllms_finds_the_calls_that_a_model_chose_to_make(config: GenerationConfig, size: int) -> None:
    from transformers import AutoTokenizer

    from deployments.generation.vllm_tools import ToolCalling

    tokenizer = AutoTokenizer.from_pretrained(config.model)
    calling = ToolCalling("hermes", tokenizer)
    for text, calls in ((HERMES, {0: ("zapamti", {"m": "siječanj"})}), ("Nema poziva.", {})):
        answer = calling.answer(Sampling(), Tools((REMEMBER,), "auto", 16), [1, 2, 3])
        pieces = [text[start : start + size] for start in range(0, len(text), size)]
        found = list[tuple[str, tuple[ToolCallDelta, ...]]]()
        for number, piece in enumerate(pieces, 1):
            ids = tokenizer(piece)["input_ids"]
            found.append(answer.read(piece, ids, finished=number == len(pieces)))
        assert "".join(said for said, _ in found).strip() == text.split("\n")[0]
        parts = joined([TextDelta("", tool_calls=parts) for _, parts in found])
        assert {index: (name, json.loads(arguments)) for index, (name, arguments) in parts.items()} == calls


def test_a_parser_that_vllm_does_not_have() -> None:
    from deployments.generation.vllm_tools import ToolCalling

    with pytest.raises(ValueError, match=r"tool_call_parser: 'herms' is none of vLLM's: .*hermes"):
        ToolCalling("herms", None)


@pytest.mark.parametrize("definitions", [5, None])
def test_a_schema_that_vllm_cannot_read_is_the_callers_error(definitions: Any) -> None:
    from deployments.generation.vllm_tools import ToolCalling

    odd = Tool("zapamti", "", json.dumps(SCHEMA | {"$defs": definitions}))
    with pytest.raises(InvalidRequest, match="send a valid JSON schema") as refused:
        ToolCalling(None, None).answer(Sampling(), Tools((odd,), "required", 16), [1])
    assert refused.value.field == "tools"
