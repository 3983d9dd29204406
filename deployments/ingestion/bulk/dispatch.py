"""Submits waiting bulk jobs as Ray Jobs, a bounded number at once, and notices those that end without having begun."""

from __future__ import annotations

import asyncio
import logging
import re
import shlex
import sys
from collections.abc import Callable
from contextlib import suppress

import ray
from ray import serve
from ray.job_submission import JobDetails, JobSubmissionClient

from deployments.ingestion.bulk.base import BulkJob, BulkJobs
from deployments.ingestion.config import IngestionConfig
from deployments.tasks import Background

logger = logging.getLogger(__name__)

_ERROR = re.compile(r"^(?:\w+\.)*([A-Z]\w*)(?:: |$)")
"""How the last line of a traceback begins: with the class of the error."""


class Dispatcher(Background):
    """Submits waiting jobs from `start` to `stop`. `submit` may block: it is called in a thread.

    So is `look`, which is asked about each submitted job every `poll_s` seconds: None while its Ray Job has not ended,
    then how it did. A run that has not ended by itself is ended with this, and the workers go on at once. They would
    otherwise wait until the run's lease is over.
    """

    def __init__(
        self,
        config: IngestionConfig,
        bulk: BulkJobs,
        submit: Callable[[BulkJob], None],
        look: Callable[[BulkJob], str | None],
    ) -> None:
        super().__init__()
        self._config = config
        self._bulk = bulk
        self._submit = submit
        self._look = look
        self._submitted: set[BulkJob] = set()
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """Look for a job now, without waiting for the next poll."""
        self._changed.set()

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            try:
                await self._end_what_has_ended()
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
            else:
                self._submitted.add(job)

    async def _end_what_has_ended(self) -> None:
        for job in [*self._submitted]:
            try:
                async with asyncio.timeout(self._config.bulk.submit_s):
                    how = await asyncio.to_thread(self._look, job)
            except Exception as error:
                logger.warning("Ray did not say whether %s runs; asking again: %r", job.name, error)
                continue
            if how is not None:
                await self._bulk.end(job, how)  # of one that has ended its run itself, nothing changes
                self._submitted.discard(job)


def submit(job: BulkJob) -> None:
    """Submit the Ray Job of a bulk job, from a replica. Raises what Ray raises, for example if its dashboard is off."""
    application = serve.get_replica_context().app_name
    client, address = _client()
    # Without an address, the job's driver connects to any Ray on its machine, also to another cluster.
    arguments = ["--address", address, "--application", application, "--tenant", job.tenant_id, "--job", job.id]
    client.submit_job(
        # By its path: the first Python on PATH may be one without this project.
        entrypoint=shlex.join([sys.executable, "-m", "deployments.ingestion.bulk", *arguments]),
        submission_id=job.name,
        metadata={"job_name": job.name, "tenant": job.tenant_id, "job": job.id},
    )


def look(job: BulkJob) -> str | None:
    """How the Ray Job of a bulk job ended; None if it has not. Raises what Ray raises."""
    client, _ = _client()
    return how_ended(client.get_job_info(job.name))


def how_ended(info: JobDetails) -> str | None:
    """How a Ray Job ended, in words that its tenant may read. None if it has not.

    Of an error it is the class alone: its text names addresses and paths of the cluster.
    """
    if not info.status.is_terminal():
        return None
    lines = (info.message or "").splitlines()
    errors = [found[1] for line in lines if (found := _ERROR.match(line)) and found[1].endswith(("Error", "Exception"))]
    code = info.driver_exit_code
    how = errors[-1] if errors else f"exit code {code}" if code is not None else "it was stopped"
    return f"its Ray Job ended before its run did: {how}"


def _client() -> tuple[JobSubmissionClient, str]:
    """A client of this process's own cluster, and the cluster's address."""
    address = ray.get_runtime_context().gcs_address
    return JobSubmissionClient(address), address
