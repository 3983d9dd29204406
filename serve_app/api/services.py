"""What the routes are given: built once a replica by ingress.py, by hand in tests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from deployments.errors import Forbidden, InvalidRequest, Unauthenticated
from deployments.ingestion.base import IndexPort
from deployments.types import StageStatus
from serve_app.config import ApiConfig
from serve_app.pipeline import Pipeline
from serve_app.platform.blobs import Blobs
from serve_app.platform.collections import Collections
from serve_app.platform.documents import Documents
from serve_app.platform.jobs import Jobs
from serve_app.platform.keys import Keys, Principal


@dataclass(frozen=True, slots=True)
class Services:
    """`stages` asks every stage for the status of its replicas; `announce` tells ingestion that work waits."""

    pipeline: Pipeline
    keys: Keys
    collections: Collections
    documents: Documents
    jobs: Jobs
    passages: IndexPort
    blobs: Blobs
    limits: ApiConfig
    stages: Callable[[], Awaitable[Mapping[str, list[StageStatus]]]]
    announce: Callable[[], None]


def services(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


Serving = Annotated[Services, Depends(services)]
_bearer = HTTPBearer(auto_error=False, description="a key of the tenant")


async def principal(
    serving: Serving, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Principal:
    """The tenant comes from the key and from nowhere else."""
    if credentials is None:
        raise Unauthenticated("send the header `Authorization: Bearer <key>`")
    return await serving.keys.authenticate(credentials.credentials)


Caller = Annotated[Principal, Depends(principal)]


async def writer(caller: Caller) -> Principal:
    if caller.role != "admin":
        raise Forbidden("this key may only ask; use an admin key to change documents")
    return caller


Writer = Annotated[Principal, Depends(writer)]


async def deadline(
    serving: Serving,
    x_deadline_ms: Annotated[str | None, Header(description="time budget of the request in ms")] = None,
) -> float:
    """Seconds the caller gives the request: X-Deadline-Ms within the service's own limit."""
    if x_deadline_ms is None:
        return serving.limits.deadline_s
    if not x_deadline_ms.isascii() or not x_deadline_ms.isdecimal() or not int(x_deadline_ms[:12]) > 0:
        raise InvalidRequest("X-Deadline-Ms must be a whole number of milliseconds above 0")
    return min(int(x_deadline_ms[:12]) / 1000, serving.limits.max_deadline_s)


DeadlineSeconds = Annotated[float, Depends(deadline)]
