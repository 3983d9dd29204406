"""The queries that one replica is answering, and how to end them by tenant and id."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from deployments.errors import InvalidRequest
from deployments.generation.config import GenerationConfig
from deployments.generation.tombstones import Tombstones
from deployments.types import GenerationRequest


@dataclass(slots=True)
class RunningQuery:
    tenant_id: str
    query_id: str
    cancelled: bool = False


class RunningQueries:
    """Every engine enters its requests here, so that an abort finds them, before or after they arrive."""

    def __init__(self, config: GenerationConfig) -> None:
        self._running: dict[tuple[str, str], RunningQuery] = {}
        self._tombstones = Tombstones(config.tombstone_s, config.max_tombstones)

    def __len__(self) -> int:
        return len(self._running)

    def __iter__(self) -> Iterator[RunningQuery]:
        return iter(self._running.values())

    @contextmanager
    def enter(self, request: GenerationRequest) -> Iterator[RunningQuery]:
        """Hold the query while it is answered; it comes in cancelled if its abort was here first.

        Raises InvalidRequest when the tenant has a query of that id here already.
        """
        key = (request.tenant_id, request.query_id)
        if key in self._running:
            raise InvalidRequest(f"query_id {request.query_id!r} is being answered already: use a new id")
        query = RunningQuery(*key, cancelled=self._tombstones.take(*key))
        self._running[key] = query
        try:
            yield query
        finally:
            del self._running[key]

    def abort(self, tenant_id: str, query_id: str) -> bool:
        """Mark the query cancelled if it is here, else remember the abort. Returns whether it was here."""
        query = self._running.get((tenant_id, query_id))
        if query is None:
            self._tombstones.add(tenant_id, query_id)
            return False
        query.cancelled = True
        return True
