"""Worlds that remember what they answered, and worlds that answer what was remembered: one run's for the next ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from deployments.ingestion.base import DocumentTask
from tests.support.world import World


@dataclass
class Recorded(World):
    """A world with its `answers` to calls, in their order."""

    answers: list[httpx.Response] = field(default_factory=list)

    async def call(
        self, tenant: str, method: str, path: str, *, key: str | None = None, **request: Any
    ) -> httpx.Response:
        self.answers.append(await super().call(tenant, method, path, key=key, **request))
        return self.answers[-1]

    async def manage(self, method: str, path: str, **request: Any) -> httpx.Response:
        self.answers.append(await super().manage(method, path, **request))
        return self.answers[-1]


class OutOfStep(BaseException):
    """What is asked is not what was recorded. No Exception, so that no test takes it for the failure it looks for."""


class Replayed(World):
    """A world of nothing but answers. It has to be asked what the recorded one was, in the same order."""

    def __init__(self, answers: Iterable[httpx.Response]) -> None:
        self._answers = iter(answers)
        self.keys = {}

    async def call(
        self, tenant: str, method: str, path: str, *, key: str | None = None, **request: Any
    ) -> httpx.Response:
        return self._next(method, path)

    async def manage(self, method: str, path: str, **request: Any) -> httpx.Response:
        return self._next(method, path)

    def _next(self, method: str, path: str) -> httpx.Response:
        answer = next(self._answers, None)
        known = answer and (answer.request.method, answer.request.url.path)
        if answer is None or known != (method, path.partition("?")[0]):
            raise OutOfStep(f"{known} is what comes next, asked is {method} {path}")
        return answer

    async def settled(self, tenant: str, job_id: str) -> dict[str, Any]:
        return {}

    def resume(self) -> None:
        """There is no worker."""

    async def told(self) -> None:
        """Nobody listens."""

    async def sweep(self) -> None:
        """Nothing is kept."""

    async def lose_bytes(self, tenant: str, document_id: str) -> None:
        """There are none."""

    async def take(self, tenant: str) -> list[DocumentTask]:
        return []

    async def give_back(self, tasks: Sequence[DocumentTask]) -> None:
        """None were taken."""
