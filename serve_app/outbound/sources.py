"""Documents handed in as a URI: fetched while their request waits, within bounds of bytes, time and number."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from deployments.errors import InvalidRequest, RagError, Unreachable
from serve_app.outbound.config import SourcesConfig
from serve_app.outbound.fetched import Fetched, SizeBudget
from serve_app.outbound.files import FileSource
from serve_app.outbound.http import Http
from serve_app.outbound.s3 import S3Source
from serve_app.outbound.tenant_shares import TenantShares
from serve_app.outbound.web import WebSource


class Source(Protocol):
    async def fetch(self, uri: str, budget: SizeBudget, tenant_id: str) -> Fetched:
        """Raises InvalidRequest, DocumentTooLarge, Unreachable."""
        ...


class Sources:
    def __init__(self, config: SourcesConfig, *, http: Http | None = None) -> None:
        self._config = config
        web = WebSource(http or Http(config.web), config.max_redirects)
        self._by_scheme: dict[str, Source] = {
            "file": FileSource(config.file_roots),
            "s3": S3Source(config.s3_buckets),
            "https": web,
            "http": web,
        }
        self._free = asyncio.Semaphore(config.concurrent)
        self._shares = TenantShares(config.tenant_concurrent)

    async def fetch(self, uris: Mapping[str, str], tenant_id: str) -> dict[str, Fetched]:
        """Documents of a tenant by the field that names each one's URI, all or none.

        The errors begin with that field. Raises InvalidRequest, DocumentTooLarge, Unreachable.
        """
        budget = SizeBudget(self._config.max_bytes)
        try:
            async with asyncio.timeout(self._config.timeout_s), asyncio.TaskGroup() as group:
                fetching = {
                    field: group.create_task(self._fetch(field, uri, budget, tenant_id)) for field, uri in uris.items()
                }
        except TimeoutError:
            raise Unreachable(
                f"{next(iter(uris))}: not fetched within {self._config.timeout_s:g} s, with all others of the request; "
                "try again, or name fewer at once",
                field=next(iter(uris)),
            ) from None
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return {field: task.result() for field, task in fetching.items()}

    async def _fetch(self, field: str, uri: str, budget: SizeBudget, tenant_id: str) -> Fetched:
        try:
            source = self._by_scheme.get(uri.partition(":")[0].lower())
            if source is None or "://" not in uri:
                raise InvalidRequest(f"begins with none of {', '.join(f'{scheme}://' for scheme in self._by_scheme)}")
            async with self._shares.of(tenant_id), self._free:
                return await source.fetch(uri, budget, tenant_id)
        except RagError as error:
            raise type(error)(f"{field}: {error.message}", field=field, internal=error.internal) from error
