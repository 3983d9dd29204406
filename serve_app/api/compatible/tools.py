"""Functions that raw models may call: `tools`, `tool_choice` and the calls themselves, as OpenAI's API has them.

The engine makes a grammar of the schemas of the functions' parameters, so those have the bounds of answers in JSON,
all together.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from deployments.errors import InvalidRequest
from deployments.types import Tool, ToolCall, Tools
from serve_app.api.compatible.answer_format import check_given, check_schemas
from serve_app.api.compatible.base import ForeignRequest
from serve_app.schemas.base import ResponseModel, Text

MAX_TOOLS: Final = 128
MAX_TOOLS_BYTES: Final = 32 * 1024
"""Of the schemas of all parameters."""
MAX_CALLS: Final = 16
"""Of one answer."""
_NO_PARAMETERS = {"type": "object", "properties": {}}
_SCHEMAS_BY_NAME = ("properties", "$defs", "definitions")
"""Keywords of a schema whose values are objects. vLLM and its parsers read them without a check."""

FunctionName = Annotated[Text, Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_.-]+$")]


class Function(ForeignRequest):
    name: FunctionName = Field(examples=["find_deadline"])
    description: Text | None = None
    parameters: dict[str, Any] | None = Field(
        None,
        description="the JSON schema of an object; those of all functions have at most 32 KiB together, and otherwise "
        "the bounds of that of response_format",
    )
    strict: Annotated[Any, Field(description="has no effect: arguments of a call that must be made always fit")] = None


class FunctionTool(ForeignRequest):
    type: Literal["function"]
    function: Function


class FlatFunctionTool(Function):
    """As /v1/responses has it."""

    type: Literal["function"]


def _only_functions(value: Any) -> Any:
    for tool in value if isinstance(value, list) else ():
        if isinstance(tool, dict) and tool.get("type") != "function":
            raise PydanticCustomError("no_function", "only functions are supported; leave out tools of other types")
    return value


def _bounded(tools: Sequence[FunctionTool | FlatFunctionTool]) -> Any:
    schemas = [function.parameters for function in functions_of(tools) if function.parameters]
    if any(schema.get("type", "object") != "object" for schema in schemas):
        raise PydanticCustomError("no_object", "parameters must be the schema of an object")
    for function in functions_of(tools):
        for keyword in _SCHEMAS_BY_NAME:
            if not isinstance((function.parameters or {}).get(keyword, {}), dict):
                why = f"{keyword} in the parameters of {function.name} must be an object; send one, or leave it out"
                raise PydanticCustomError("no_object", "{why}", {"why": why})
    check_schemas(schemas, MAX_TOOLS_BYTES)
    return tools


def functions_of(tools: Sequence[FunctionTool | FlatFunctionTool]) -> list[Function]:
    return [tool.function if isinstance(tool, FunctionTool) else tool for tool in tools]


_MOST = Field(max_length=MAX_TOOLS, description="functions that a raw model may call")
FunctionTools = Annotated[tuple[FunctionTool, ...], BeforeValidator(_only_functions), AfterValidator(_bounded), _MOST]
FlatFunctionTools = Annotated[
    tuple[FlatFunctionTool, ...], BeforeValidator(_only_functions), AfterValidator(_bounded), _MOST
]


def _json_object(text: str) -> str:
    if not text.strip():
        return "{}"  # of a function without parameters, as several models and clients have it
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise PydanticCustomError(
            "no_object",
            "must be the text of a JSON object; send a call's arguments as they came, and leave out a call that was "
            "cut (finish_reason length)",
        )
    check_given(given)
    return text


Arguments = Annotated[Text, AfterValidator(_json_object)]


class CalledFunction(ForeignRequest):
    name: FunctionName
    arguments: Arguments


class GivenCall(ForeignRequest):
    id: Text = Field(min_length=1, max_length=128)
    type: Literal["function"] = "function"
    function: CalledFunction

    def as_call(self) -> ToolCall:
        return ToolCall(self.id, self.function.name, self.function.arguments)


class NamedFunction(ForeignRequest):
    """The function that the model must call."""

    name: FunctionName

    def as_flat(self) -> dict[str, str]:
        """As /v1/responses has it."""
        return {"type": "function", "name": self.name}


_CHOICES = ("none", "auto", "required")


def _chosen(value: Any) -> Any:
    """A named function without what the two APIs put around its name."""
    if value is None or value in _CHOICES or isinstance(value, NamedFunction):
        return value
    function = value.get("function", value) if isinstance(value, dict) and value.get("type") == "function" else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str):
        raise PydanticCustomError("no_choice", "must be none, auto, required, or name one of the functions in tools")
    return NamedFunction(name=name)


_NAME = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


def _choice_schema(named: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [{"type": "string", "enum": [*_CHOICES]}, named, {"type": "null"}]})


Choice = Literal["none", "auto", "required"] | NamedFunction | None
_OF_TYPE = {"type": {"const": "function"}}
ToolChoice = Annotated[
    Choice,
    BeforeValidator(_chosen),
    _choice_schema({"type": "object", "properties": {**_OF_TYPE, "function": _NAME}, "required": ["type", "function"]}),
]
FlatToolChoice = Annotated[
    Choice,
    BeforeValidator(_chosen),
    _choice_schema(
        {"type": "object", "properties": {**_OF_TYPE, "name": {"type": "string"}}, "required": ["type", "name"]}
    ),
]
"""As /v1/responses has it."""


def chosen_tools(functions: Sequence[Function], choice: Choice, *, parallel: bool) -> Tools | None:
    """What the engine is given; None if nothing is to be called. Raises InvalidRequest."""
    if not functions:
        if choice not in (None, "none", "auto"):
            raise InvalidRequest("tool_choice: there are no tools; send tools, or leave it out", field="tool_choice")
        return None
    if choice == "none":
        return None
    if len({function.name for function in functions}) < len(functions):
        raise InvalidRequest("tools: two functions have the same name; rename one", field="tools")
    if isinstance(choice, NamedFunction):
        functions = [function for function in functions if function.name == choice.name]
        if not functions:
            raise InvalidRequest(
                f"tool_choice: {choice.name} is none of the functions in tools; name one of them", field="tool_choice"
            )
    return Tools(
        tuple(
            Tool(
                function.name,
                function.description or "",
                json.dumps(function.parameters or _NO_PARAMETERS, ensure_ascii=False),
            )
            for function in functions
        ),
        "named" if isinstance(choice, NamedFunction) else choice or "auto",
        MAX_CALLS if parallel else 1,
    )


class CallOfFunction(ResponseModel):
    name: str
    arguments: str = Field(description="the text of a JSON object; cut where the answer was")


class Call(ResponseModel):
    id: str
    type: Literal["function"]
    function: CallOfFunction


class FunctionPart(ResponseModel):
    name: str | None = None
    arguments: str


class CallPart(ResponseModel):
    """`id`, `type` and the name are in the first part of a call; the arguments are those of all its parts joined."""

    index: int
    id: str | None = None
    type: Literal["function"] | None = None
    function: FunctionPart
