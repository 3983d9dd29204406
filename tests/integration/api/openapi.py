"""Cases that schemathesis makes of the OpenAPI document, sent to the real API under keys of every role."""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events, from_schema
from schemathesis.python import asgi
from starlette.datastructures import MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from deployments.errors import Unauthenticated
from serve_app.api.app import create_app
from serve_app.platform.keys import Role
from serve_app.platform.tenant_settings import Settings
from tests.integration.api.conftest import LIMITS, serving

TENANT = "acme"
"""The tenant of the document's examples."""
_NOT_TRUE_HERE = ("ignored_auth", "positive_data_acceptance", "negative_data_rejection")
"""Checks that do not apply here. Keys are added to requests on their way. No schema can state some refusals, such as
that of a date in the past."""
_RIGHT = ["2xx", "3xx", "4xx", "504"]
"""Statuses that tell of no defect; 504, since some cases ask for an answer within a millisecond."""
_HOLDERS: tuple[tuple[Role | None, str | None], ...] = (
    ("platform", TENANT),
    ("admin", ""),
    ("query", ""),
    ("platform", TENANT),
    ("admin", ""),
    ("platform", None),
    ("admin", None),
    (None, None),
)
"""Whose key is put to a request, and the tenant it names: `""` none, None the one that the case itself names."""
_LIMITS = LIMITS.model_copy(update={"deadline_s": 0.3, "max_deadline_s": 0.3})
"""No worker is there, and some cases wait for one."""
_BELOW_A_DOCUMENT = [
    {
        "include-path": f"/v1/documents/{{document_id}}/{name}",
        "phases": {"coverage": {"unexpected-methods": ["put", "post", "options", "trace"]}},
    }
    for name in ("chunks", "content")
]
"""An id may end so, and what is no method of this path is one of such a document."""
_EXAMPLE_KEY = "5f0c7a1e-2b64-4c0e-9a35-6f7d8e9c0b1a"
"""The document's example of an Idempotency-Key."""
_MAY_END_KEYS = ("/v1/tenants/", "/v1/keys/", "/v1/commands", "/v1/rpc")


@dataclass
class Rehearsal:
    """The API as an ASGI application that chooses a key for each request, by the request's own words so that a case can
    be repeated. The tenant and the keys that a request ended are there again for the next one.
    """

    folder: Path
    answered: Counter[tuple[str, int]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._secrets: dict[Role, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            async with serving(self.folder) as self._api:
                self._app = create_app(self._api.rebuilt(_LIMITS))
                await self._restore()
                await send({"type": "lifespan.startup.complete"})
                await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        status = 0

        async def noted(message: Message) -> None:
            nonlocal status
            status = int(message.get("status", status))
            await send(message)

        role = self._choose(scope)
        await self._app(scope, receive, noted)
        self.answered[role or "nobody", status] += 1
        if status < 300 and scope["path"].startswith(_MAY_END_KEYS):
            await self._restore()

    def _choose(self, scope: Scope) -> Role | None:
        headers = MutableHeaders(scope=scope)
        told = [scope["path"], scope["query_string"], headers.get("content-length"), headers.get("x-request-id")]
        role, named = _HOLDERS[zlib.crc32(repr(told).encode()) % len(_HOLDERS)]
        if role is not None:
            headers["Authorization"] = f"Bearer {self._secrets[role]}"
        if named is not None:
            del headers["X-Tenant-ID"]
        if named:
            headers["X-Tenant-ID"] = named
        if headers.get("Idempotency-Key") == _EXAMPLE_KEY:  # of most cases, which would refuse one another
            headers["Idempotency-Key"] = f"{_EXAMPLE_KEY}-{zlib.crc32(repr(told).encode())}"
        return role

    async def _restore(self) -> None:
        stores = self._api.stores
        await stores.tenants.ensure(TENANT)
        await stores.tenants.patch(TENANT, suspended=False, settings=dict.fromkeys(Settings.model_fields))
        roles: tuple[Role, ...] = ("platform", "admin", "query")
        for role in roles:
            try:
                await stores.keys.authenticate(self._secrets.get(role, ""))
            except Unauthenticated:
                self._secrets[role] = (await self._api.key(role, TENANT))["Authorization"].removeprefix("Bearer ")


@dataclass(frozen=True)
class Findings:
    """`answered` counts cases by the role of their key and their answer's status."""

    cases: int
    defects: list[str]
    answered: Counter[tuple[str, int]]


def rehearse(folder: Path, *, examples: int, seed: int | None = None, boundaries_of_commands: bool = True) -> Findings:
    """Boundary cases of every operation, `examples` random ones of each, and sequences of operations.

    The same cases each time, unless a seed is given. Half of the boundary cases are those of /v1/commands.
    """
    generation: dict[str, Any] = {"max-examples": examples, "database": "none", "with-security-parameters": False}
    config: dict[str, Any] = {
        "cache": {"enabled": False},
        "continue-on-failure": True,
        "checks": {name: {"enabled": False} for name in _NOT_TRUE_HERE}
        | {"not_a_server_error": {"expected-statuses": _RIGHT}},
        "generation": generation | {"deterministic": seed is None},
        "operations": [*_BELOW_A_DOCUMENT],
    }
    if seed is not None:
        config["seed"] = seed
    if not boundaries_of_commands:
        config["operations"].append({"include-path": "/v1/commands", "phases": {"coverage": {"enabled": False}}})
    app = Rehearsal(folder)
    cases, defects = 0, dict[tuple[str, str | None], str]()
    try:
        schema = schemathesis.openapi.from_asgi("/openapi.json", app, config=SchemathesisConfig.from_dict(config))
        for event in from_schema(schema).execute():
            if isinstance(event, events.NonFatalError):
                defects["error", event.label] = str(event.info)
            elif isinstance(event, events.FatalError):
                raise event.exception
            elif isinstance(event, events.ScenarioFinished):
                cases += len(event.recorder.interactions)
                for checks in event.recorder.checks.values():
                    for check in checks:
                        if check.status is not Status.SUCCESS and check.failure_info is not None:
                            failure = check.failure_info.failure
                            shown = f"{failure.operation}: {failure.title}\n{failure.message}\n"
                            shown += check.failure_info.code_sample
                            defects.setdefault((check.name, failure.operation), shown)
    finally:
        asgi.shutdown_lifespans()
    return Findings(cases, list(defects.values()), app.answered)
