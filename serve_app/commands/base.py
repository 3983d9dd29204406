"""What a command is, and the registry of them. A new verb is one class under `@command`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial, reduce
from operator import or_
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import Discriminator, Field, TypeAdapter, ValidationError, create_model
from pydantic_core import from_json

from deployments.errors import InvalidFilter, InvalidRequest
from serve_app.platform.keys import Principal
from serve_app.query.answer_events import AnswerEvent
from serve_app.schemas.base import Name, Text, Wire, invalid_request
from serve_app.services.access import Access, require_platform
from serve_app.services.container import Services
from serve_app.services.queries import Ending

WRONG_PARAMS = (InvalidRequest, InvalidFilter)
"""What tells that the params themselves must be mended, whichever layer found it."""


@dataclass(frozen=True, slots=True)
class Streamed:
    """An answer that comes in pieces; close it when the reader goes away."""

    query_id: str
    messages: AsyncGenerator[AnswerEvent]
    ending: Ending


Outcome = dict[str, Any] | Streamed
Work = Callable[[], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class Call:
    """What a tenant's command is given beside its params; `caller` may do what the command needs."""

    services: Services
    caller: Access
    deadline_s: float


class Command(Wire):
    """The fields are the params. Several classes may share a verb if each has an `action` of its own."""

    verb: ClassVar[str]

    @property
    def streams(self) -> bool:
        return False

    @abstractmethod
    async def begin(self, services: Services, holder: Principal, deadline_s: float) -> Work:
        """What is to be done, if the key's holder may. Raises Forbidden, NotFound, TenantSuspended."""


class TenantCommand(Command):
    """Acts within one tenant. `needs` is the least role that may call it."""

    needs: ClassVar[Literal["query", "admin"]] = "admin"
    asks: ClassVar[bool] = False
    """Whether it has an answer generated, or passages found."""

    tenant: Name | None = Field(
        None, description="the tenant that a platform key acts for; other keys may leave it out", examples=["acme"]
    )

    async def begin(self, services: Services, holder: Principal, deadline_s: float) -> Work:
        caller = await services.access.resolve(holder, self.tenant)
        if self.needs == "admin":
            caller.require_write()
        return partial(self.run, Call(services, caller, deadline_s))

    @abstractmethod
    async def run(self, call: Call) -> Outcome: ...


class PlatformCommand(Command):
    """Acts on tenants, or on the service as a whole: for a platform key, unless `allow` is told otherwise."""

    async def begin(self, services: Services, holder: Principal, deadline_s: float) -> Work:
        self.allow(holder)
        return partial(self.run, services)

    def allow(self, holder: Principal) -> None:
        """Raises Forbidden."""
        require_platform(holder)

    @abstractmethod
    async def run(self, services: Services) -> Outcome: ...


COMMANDS: dict[str, list[type[Command]]] = {}
C = TypeVar("C", bound=Command)


def command(verb: str) -> Callable[[type[C]], type[C]]:
    """Register a command's class under its verb."""

    def register(made: type[C]) -> type[C]:
        made.verb = verb
        COMMANDS.setdefault(verb, []).append(made)
        return made

    return register


def parse(verb: str, params: Mapping[str, Any]) -> Command:
    """Raises InvalidRequest naming each wrong param, KeyError for an unknown verb."""
    try:
        parsed: Command = _adapter(verb).validate_python(params)
    except ValidationError as error:
        raise invalid_request(error.errors(include_url=False)) from None
    return parsed


def tenant_commands(body: bytes, most: int) -> list[TenantCommand]:
    """The commands of a body that act within a tenant: one command, or 1 to `most` calls of JSON-RPC.

    What must be refused is passed over. So are commands on tenants, such as one that resumes a suspended tenant.
    """
    found = []
    with suppress(ValueError):
        given = from_json(body, allow_inf_nan=False)
        calls = given if isinstance(given, list) else [given]
        for each in calls if len(calls) <= most else ():
            with suppress(InvalidRequest, KeyError, TypeError, AttributeError):
                command = parse(each["command"] if "command" in each else each["method"], each.get("params", {}))
                if isinstance(command, TenantCommand):
                    found.append(command)
    return found


class Envelope(Wire):
    id: Text = Field(
        min_length=1,
        max_length=256,
        description="the caller's own, carried by every line of the answer",
        examples=["1"],
    )
    command: str
    params: Command


def envelopes() -> Any:
    """A type for each verb's request, told apart by `command`."""
    return _one_of(_envelopes(), "command")


def _envelopes() -> Iterator[type[Envelope]]:
    for verb, classes in COMMANDS.items():
        name = "".join(word.title() for word in verb.split("_")) + "Command"
        fields: dict[str, Any] = {"command": (Literal[verb], ...), "params": (_params(verb), ...)}
        summary = classes[0].__doc__ if len(classes) == 1 else None
        yield create_model(name, __base__=Envelope, __doc__=summary, **fields)


def _params(verb: str) -> Any:
    first, *others = COMMANDS[verb]
    return _one_of(COMMANDS[verb], "action") if others else first


def _one_of(types: Iterable[Any], told_by: str) -> Any:
    return Annotated[reduce(or_, types), Discriminator(told_by)]


@cache
def _adapter(verb: str) -> TypeAdapter[Command]:
    return TypeAdapter(_params(verb))
