"""Commands as JSON-RPC 2.0: single calls, batches, notifications. The calls of a batch run side by side, a few at a
time; the answers come in the order of the calls."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NotRequired

from pydantic import AllowInfNan, BaseModel, Field, StrictFloat, StrictInt, StrictStr, ValidationError
from pydantic_core import from_json
from typing_extensions import TypedDict

from deployments.errors import RagError
from serve_app.commands.base import COMMANDS, WRONG_PARAMS, parse
from serve_app.platform.keys import Principal
from serve_app.query.deadline import Deadline
from serve_app.schemas.base import explain
from serve_app.services.container import Services

logger = logging.getLogger(__name__)

# The specification's codes, by its own names; it leaves -32000 to the service.
PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
SERVICE_ERROR = -32000
AT_ONCE = 8
"""Calls of one batch that run at the same time."""


class RpcCall(BaseModel):
    jsonrpc: Literal["2.0"]
    method: StrictStr
    params: dict[str, Any] | list[Any] = Field(default={}, description="by name: an object")
    id: StrictStr | StrictInt | Annotated[StrictFloat, AllowInfNan(False)] | None = Field(
        None, description="left out, the call is a notification and has no answer"
    )


class RpcFault(TypedDict):
    code: int
    message: str
    data: NotRequired[dict[str, Any]]


class RpcReply(TypedDict):
    jsonrpc: Literal["2.0"]
    result: NotRequired[Any]
    error: NotRequired[RpcFault]
    id: str | float | None


class _Refused(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Rpc:
    """The calls of a batch share the deadline. `error_data`: what an error of ours says beside its message."""

    services: Services
    holder: Principal
    deadline: Deadline
    error_data: Callable[[RagError], dict[str, Any]]

    async def answer(self, body: bytes) -> RpcReply | list[RpcReply] | None:
        """None if the body held only notifications."""
        try:
            given = from_json(body, allow_inf_nan=False)
        except ValueError as error:
            return _failed(PARSE_ERROR, f"the body is not JSON: {error}")
        if not isinstance(given, list):
            return await self._answer_one(given)
        most = self.services.config.max_batch
        if not 1 <= len(given) <= most:
            return _failed(INVALID_REQUEST, f"a batch has 1 to {most} calls, this one {len(given)}")
        free = asyncio.Semaphore(AT_ONCE)

        async def in_turn(call: Any) -> RpcReply | None:
            async with free:
                return await self._answer_one(call)

        replies = await asyncio.gather(*map(in_turn, given))
        return [reply for reply in replies if reply is not None] or None

    async def _answer_one(self, given: Any) -> RpcReply | None:
        try:
            call = RpcCall.model_validate(given)
        except ValidationError as error:
            return _failed(INVALID_REQUEST, explain(error.errors(include_url=False)))
        reply = await self._reply(call)
        return reply if "id" in call.model_fields_set else None

    async def _reply(self, call: RpcCall) -> RpcReply:
        try:
            return {"jsonrpc": "2.0", "result": await self._result(call), "id": call.id}
        except _Refused as error:
            return _failed(error.code, str(error), call.id)
        except RagError as error:
            if error.internal:
                logger.warning("%s was answered with an error: %s", call.method, error)
            code = INVALID_PARAMS if isinstance(error, WRONG_PARAMS) else SERVICE_ERROR
            return _failed(code, error.message, call.id, self.error_data(error))
        except Exception:
            logger.exception("%s failed", call.method)
            return _failed(INTERNAL_ERROR, "an unexpected error; the service's log has the details", call.id)

    async def _result(self, call: RpcCall) -> Any:
        if call.method not in COMMANDS:
            raise _Refused(METHOD_NOT_FOUND, f"there is no method {call.method[:80]!r}; there is {', '.join(COMMANDS)}")
        if isinstance(call.params, list):
            raise _Refused(INVALID_PARAMS, "params are taken by name; send an object")
        command = parse(call.method, call.params)
        if command.streams:
            if "stream" in command.model_fields_set:
                raise _Refused(
                    INVALID_PARAMS, "stream: JSON-RPC has one answer a call; send the command to /v1/commands"
                )
            command = command.model_copy(update={"stream": False})
        work = await command.begin(self.services, self.holder, self.deadline.remaining())
        return await work()


def _failed(code: int, message: str, id: str | float | None = None, data: dict[str, Any] | None = None) -> RpcReply:
    error: RpcFault = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return {"jsonrpc": "2.0", "error": error, "id": id}
