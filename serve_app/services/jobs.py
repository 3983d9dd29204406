"""Jobs: how far the indexing of accepted documents has come, and its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from serve_app.config.args import ApiConfig
from serve_app.platform.job_states import JobState
from serve_app.platform.jobs import Jobs, JobSummary, JobView
from serve_app.platform.retries import Retried
from serve_app.services.access import Access
from serve_app.services.ports import AnnounceJob
from serve_app.storage.pagination import Page

_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class JobService:
    store: Jobs
    config: ApiConfig
    announce_job: AnnounceJob

    async def get(self, caller: Access, job_id: str) -> JobView:
        """The job with each of its documents. Raises NotFound."""
        return await self.store.view(caller.tenant_id, job_id)

    async def summary(self, caller: Access, job_id: str) -> JobSummary:
        """Raises NotFound."""
        return await self.store.summary(caller.tenant_id, job_id)

    async def list(self, caller: Access, state: JobState | None, *, after: str, limit: int) -> Page[JobSummary]:
        """A page of the tenant's jobs, the newest first. Raises InvalidRequest for an `after` that no job has."""
        return await self.store.page(
            caller.tenant_id, state=state, after=after, limit=limit, max_scanned=self.config.max_scanned
        )

    async def wait(self, caller: Access, job_id: str, timeout_s: float) -> JobView:
        """The job once it is over, or as it stands after `timeout_s` seconds. Raises NotFound."""
        end = time.monotonic() + timeout_s
        while True:
            job = await self.get(caller, job_id)
            remaining_s = end - time.monotonic()
            if job.over or remaining_s <= 0:
                return job
            await asyncio.sleep(min(_POLL_S, remaining_s))  # the worker that ends it may be on another node

    async def cancel(self, caller: Access, job_id: str) -> JobView:
        """The job as it stands after it was ended. Raises NotFound."""
        await self.store.cancel(caller.tenant_id, job_id)
        return await self.get(caller, job_id)

    async def retry(self, caller: Access, job_id: str) -> Retried:
        """A new job of the failed documents of one. Raises NotFound, Conflict, QuotaExceeded, RateLimited."""
        retried = await self.store.retry(caller.tenant_id, job_id)
        self.announce_job()
        return retried

    async def follow(self, caller: Access, job: JobSummary) -> AsyncGenerator[JobSummary]:
        """The job as it stands, and again after each change, until it is over or `api.max_job_events_s` have passed.

        Raises NotFound.
        """
        end = time.monotonic() + self.config.max_job_events_s
        yield job
        while not job.over and (remaining_s := end - time.monotonic()) > 0:
            await asyncio.sleep(min(self.config.job_poll_s, remaining_s))
            current = await self.store.summary(caller.tenant_id, job.id)
            if current != job:
                job = current
                yield job
