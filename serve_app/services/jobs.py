"""Jobs: how far the indexing of accepted documents has come, and its end."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass

from deployments.errors import TenantSuspended
from serve_app.config.args import ApiConfig
from serve_app.platform import failures
from serve_app.platform.failures import FailedDocument
from serve_app.platform.job_states import JobState
from serve_app.platform.jobs import Jobs, JobSummary, JobView
from serve_app.platform.retries import Retried
from serve_app.services.access import Access
from serve_app.services.job_progress import JobProgress
from serve_app.services.ports import AnnounceJob
from serve_app.storage.pagination import Page


@dataclass(frozen=True, slots=True)
class JobService:
    store: Jobs
    config: ApiConfig
    announce_job: AnnounceJob
    progress: JobProgress

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

    async def failures(
        self, caller: Access, *, error: str | None, job_id: str | None, after: str, limit: int
    ) -> Page[FailedDocument]:
        """A page of the tenant's documents that failed, those handed in last first. Raises NotFound, InvalidRequest."""
        return await failures.page(
            self.store.database, caller.tenant_id, error=error, job_id=job_id, after=after, limit=limit
        )

    async def wait(self, caller: Access, job_id: str, timeout_s: float) -> JobView:
        """The job once it is over, or as it stands after `timeout_s` seconds, or once its tenant is suspended.

        Raises NotFound.
        """
        with suppress(TenantSuspended):  # its documents wait from then on
            async with aclosing(self.progress.states(caller.tenant_id, job_id, timeout_s)) as states:
                async for _ in states:
                    pass
        return await self.get(caller, job_id)

    async def cancel(self, caller: Access, job_id: str) -> JobView:
        """The job as it stands after it was ended. Raises NotFound."""
        await self.store.cancel(caller.tenant_id, job_id)
        return await self.get(caller, job_id)

    async def retry(self, caller: Access, job_id: str) -> Retried:
        """A new job of the failed documents of one. Raises NotFound, Conflict, QuotaExceeded, RateLimited."""
        retried = await self.store.retry(caller.tenant_id, job_id)
        self.announce_job()
        return retried

    def check_room_to_follow(self, caller: Access) -> None:
        """Raises RateLimited if the tenant follows as many jobs as it may."""
        self.progress.check_room(caller.tenant_id)

    async def follow(self, caller: Access, job: JobSummary) -> AsyncGenerator[JobSummary]:
        """The job as it stands, and again after each change, until it is over or `api.max_job_events_s` have passed.

        Raises NotFound, RateLimited, and TenantSuspended once the tenant is suspended.
        """
        with self.progress.streaming(caller.tenant_id):
            yield job
            if job.over:
                return
            async with aclosing(self.progress.states(caller.tenant_id, job.id, self.config.max_job_events_s)) as states:
                async for current in states:
                    if current != job:
                        job = current
                        yield job
