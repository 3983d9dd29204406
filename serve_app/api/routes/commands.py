"""POST /commands and POST /rpc: the same commands as lines of JSON and as JSON-RPC 2.0."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Body, Request, Response
from fastapi.responses import JSONResponse

import serve_app.commands  # noqa: F401 - registers the platform's own
from deployments.errors import (
    Forbidden,
    InvalidFilter,
    NotFound,
    RagError,
    TenantSuspended,
    UnknownCollection,
)
from serve_app.api.dependencies import DeadlineSeconds, KeyHolder, ServicesDep, get_services
from serve_app.api.errors import STATUS, log_internal
from serve_app.api.idempotency import IdempotentRoute, Keeper, NotStored
from serve_app.api.openapi import describe_errors
from serve_app.api.streaming import EventStream, line, lines
from serve_app.commands.base import WRONG_PARAMS, Envelope, Streamed, envelopes, tenant_commands
from serve_app.commands.rpc import Rpc, RpcCall, RpcReply
from serve_app.platform.keys import Principal
from serve_app.query.answer_events import Failure
from serve_app.query.deadline import Deadline
from serve_app.schemas.queries import event_as_json

if TYPE_CHECKING:
    AnyCommand = Envelope
else:
    AnyCommand = envelopes()

NDJSON = "application/x-ndjson"
_REFUSED = (Forbidden, TenantSuspended, NotFound, UnknownCollection, InvalidFilter)


class CommandRoute(IdempotentRoute):
    """A route whose commands name the tenants that they act for in the body."""

    async def tenants_in_body(self, request: Request) -> Iterable[str]:
        services = await get_services(request)
        commands = tenant_commands(await request.body(), services.config.max_batch)
        return [command.tenant for command in commands if command.tenant is not None]

    async def keeper(self, request: Request, principal: Principal) -> Keeper:
        """Of a command that asks: its tenant's. A batch of calls may ask for several tenants and users.

        A body that is larger than a question is not parsed for this: it may hold documents, or very many calls.
        """
        services, body = await get_services(request), await request.body()
        is_small = len(body) <= services.config.max_query_body_bytes
        commands = tenant_commands(body, services.config.max_batch) if is_small else []
        if not any(command.asks for command in commands):
            return await super().keeper(request, principal)
        if len(commands) > 1:
            return Keeper(principal.tenant_id, is_question=True)
        tenant = commands[0].tenant
        caller = await services.access.resolve(principal, tenant)
        user = getattr(commands[0], "user", None) or ""
        return Keeper(caller.tenant_id, user=user, is_question=True, counted=caller)


router = APIRouter(tags=["commands"], route_class=CommandRoute)
_EXAMPLES: dict[str, Any] = {
    "query": {"tenant": "acme", "user": "u1", "query": "Koji je rok za žalbu?", "language": "hr"},
    "process_documents": {"documents": [{"id": "nn-30-18", "text": "Članak 1. Rok je 15 dana."}], "async": True},
    "create_tenant": {"tenant": "acme", "name": "Acme d.o.o."},
    "manage_collections": {"action": "create", "name": "zakoni"},
}
_COMMANDS = Body(
    openapi_examples={
        verb: {"value": {"id": "1", "command": verb, "params": params}} for verb, params in _EXAMPLES.items()
    }
)
_LINES: dict[str, Any] = {
    "result": {"value": '{"type":"result","query_id":"1","data":{"id":"nn-30-18","deleted":true},"id":"1"}\n'},
    "error": {
        "value": '{"type":"error","query_id":"1","error":"document \'x\' does not exist","code":"not_found",'
        '"retryable":false,"id":"1"}\n'
    },
}
_CALL = RpcCall.model_json_schema()
_CALLS: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"oneOf": [_CALL, {"type": "array", "minItems": 1, "items": _CALL}]},
                "examples": {
                    verb: {"value": {"jsonrpc": "2.0", "id": 1, "method": verb, "params": params}}
                    for verb, params in _EXAMPLES.items()
                },
            }
        },
    },
}


@router.post(
    "/commands",
    response_class=Response,
    responses={
        200: {"description": "a line for each message", "content": {NDJSON: {"examples": _LINES}}},
        **describe_errors(*_REFUSED),
    },
)
async def run(
    body: Annotated[AnyCommand, _COMMANDS],
    request: Request,
    services: ServicesDep,
    holder: KeyHolder,
    deadline_s: DeadlineSeconds,
) -> Response:
    """Run a command. The answer is lines of JSON, each with the command's `id` and a `query_id`.

    Most commands answer with one line: `result`, or `error` if a valid command failed. Its `query_id` is the command's
    `id`. A streamed `query` has the lines `sources`, `chunk`, `citation`, `complete` and `error`. Their `query_id` is
    the query's own, which `cancel_query` takes. An empty line is a heartbeat; skip it.

    A command that cannot begin is answered with a problem, and with the status that the REST routes use. Examples are
    an unknown command, wrong params (422), a key without the right, and an unknown tenant.
    """
    command = body.params
    work = await command.begin(services, holder, deadline_s)
    try:
        outcome = await work()
    except RagError as error:
        if command.streams or isinstance(error, WRONG_PARAMS):
            raise
        log_internal(request.scope.get("request_id"), error)
        failure = Failure(body.id, error.message, error.code, error.retryable)
        return NotStored(line({**event_as_json(failure), "id": body.id}), media_type=NDJSON)
    if isinstance(outcome, Streamed):
        headers = {"X-Query-ID": outcome.query_id, "Cache-Control": "no-store"}
        stream = lines(body.id, outcome.query_id, outcome.messages, heartbeat_s=services.config.heartbeat_s)
        return EventStream(stream, ending=outcome.ending, media_type=NDJSON, headers=headers)
    return Response(line({"type": "result", "query_id": body.id, "data": outcome, "id": body.id}), media_type=NDJSON)


@router.post(
    "/rpc",
    response_class=JSONResponse,
    openapi_extra=_CALLS,
    responses={
        200: {"model": RpcReply | list[RpcReply], "description": "what each call came to, in the order of the calls"},
        204: {"description": "nothing but notifications came"},
    },
)
async def rpc(request: Request, services: ServicesDep, holder: KeyHolder, deadline_s: DeadlineSeconds) -> Response:
    """Call commands as JSON-RPC 2.0: one call, or a batch whose calls run side by side. 204 if all are notifications.

    `query` is answered whole: `stream: true` is refused. The service's own errors have the code -32000 (-32602 where
    the params are wrong) and in `data` their `code`, `status`, and whether they are `retryable`.
    """
    reply = await Rpc(services, holder, Deadline(deadline_s), _error_data).answer(await request.body())
    if reply is None:
        return Response(status_code=204)
    failed = all("error" in answer for answer in (reply if isinstance(reply, list) else [reply]))
    return (NotStored if failed else Response)(line(reply), media_type="application/json")


def _error_data(error: RagError) -> dict[str, Any]:
    return {"code": error.code, "status": STATUS[type(error)], "retryable": error.retryable}
