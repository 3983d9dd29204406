"""Submits waiting bulk jobs as Ray Jobs, a bounded number at once."""

from __future__ import annotations

import asyncio
import logging
import shlex
import sys
from collections.abc import Callable
from contextlib import suppress

import ray
from ray import serve
from ray.job_submission import JobSubmissionClient

from deployments.ingestion.bulk.base import BulkJob, BulkJobs
from deployments.ingestion.config import IngestionConfig
from deployments.tasks import Background

logger = logging.getLogger(__name__)


class Dispatcher(Background):
    """Submits waiting jobs from `start` to `stop`. `submit` may block: it is called in a thread."""

    def __init__(self, config: IngestionConfig, bulk: BulkJobs, submit: Callable[[BulkJob], None]) -> None:
        super().__init__()
        self._config = config
        self._bulk = bulk
        self._submit = submit
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """Look for a job now, without waiting for the next poll."""
        self._changed.set()

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            try:
                await self._dispatch()
            except Exception:
                logger.exception("bulk jobs were not looked for; trying again in %g s", self._config.poll_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._config.poll_s):
                    await self._changed.wait()

    async def _dispatch(self) -> None:
        limits = self._config.bulk
        while (job := await self._bulk.next(most=limits.jobs, lease_s=limits.start_s)) is not None:
            try:
                async with asyncio.timeout(limits.submit_s):
                    await asyncio.to_thread(self._submit, job)
            except Exception as error:
                in_time = not isinstance(error, TimeoutError)
                reason = type(error).__name__ if in_time else f"no answer within {limits.submit_s:g} s"
                # The error's text names addresses of the cluster, and the job's detail is shown to its tenant.
                logger.warning("%s was not submitted, the workers index its documents: %s", job.name, error or reason)
                await self._bulk.end(job, f"it could not be submitted as a Ray Job: {reason}")


def submit(job: BulkJob) -> None:
    """Submit the Ray Job of a bulk job, from a replica. Raises what Ray raises, for example if its dashboard is off."""
    application = serve.get_replica_context().app_name
    address = ray.get_runtime_context().gcs_address
    client = JobSubmissionClient(address)
    # Without an address, the job's driver connects to any Ray on its machine, also to another cluster.
    arguments = ["--address", address, "--application", application, "--tenant", job.tenant_id, "--job", job.id]
    client.submit_job(
        # By its path: the first Python on PATH may be one without this project.
        entrypoint=shlex.join([sys.executable, "-m", "deployments.ingestion.bulk", *arguments]),
        submission_id=job.name,
        metadata={"job_name": job.name, "tenant": job.tenant_id, "job": job.id},
    )
