"""The queries that one replica is answering, and their aborts: by tenant and query id, in either order of arrival."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cachetools import TTLCache

from deployments.errors import InvalidRequest
from deployments.generation.config import GenerationConfig
from deployments.types import GenerationRequest


@dataclass(slots=True)
class ActiveQuery:
    """One query being answered. Its engine stops at the next token once `cancelled` is set."""

    tenant_id: str
    query_id: str
    cancelled: bool = False


class ActiveQueries:
    """Every engine enters its requests here, so that an abort finds them.

    An abort may arrive before its request. It is then remembered for `generation.tombstone_s` seconds. At most
    `generation.max_tombstones` are remembered, and the oldest is forgotten first. Keys hold the tenant, so no tenant
    can end another's query.
    """

    def __init__(self, config: GenerationConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._active: dict[tuple[str, str], ActiveQuery] = {}
        self._early_aborts: TTLCache[tuple[str, str], bool] = TTLCache(config.max_tombstones, config.tombstone_s, clock)

    def __len__(self) -> int:
        return len(self._active)

    def __iter__(self) -> Iterator[ActiveQuery]:
        return iter(self._active.values())

    @contextmanager
    def enter(self, request: GenerationRequest) -> Iterator[ActiveQuery]:
        """Hold the query while it is answered. It starts cancelled if its abort arrived first; each abort counts once.

        Raises InvalidRequest when this replica already answers a query of the tenant under the same id.
        """
        key = (request.tenant_id, request.query_id)
        if key in self._active:
            raise InvalidRequest(f"query_id {request.query_id!r} is being answered already: use a new id")
        query = ActiveQuery(*key, cancelled=self._early_aborts.pop(key, False))
        self._active[key] = query
        try:
            yield query
        finally:
            del self._active[key]

    def abort(self, tenant_id: str, query_id: str) -> bool:
        """Cancel the query if it is here, else remember the abort. Returns whether the query was here."""
        query = self._active.get((tenant_id, query_id))
        if query is None:
            self._early_aborts[tenant_id, query_id] = True
            return False
        query.cancelled = True
        return True
