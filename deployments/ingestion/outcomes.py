"""How a claimed document ends: live, failed, or queued for another try."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from deployments.errors import BadInput, StageUnavailable, Unavailable
from deployments.ingestion.base import DocumentTask, GivenUp, IndexedDocument, JobStore, LeaseLost
from deployments.ingestion.config import IngestionConfig

logger = logging.getLogger(__name__)


class Conclusions:
    def __init__(self, config: IngestionConfig, jobs: JobStore) -> None:
        self._config = config
        self._jobs = jobs

    async def conclude(self, task: DocumentTask, indexing: Callable[[], Awaitable[IndexedDocument]]) -> None:
        """Have a document indexed and record how it ended: nothing is raised but cancellation."""
        try:
            if task.attempts > self._config.max_attempts:
                raise StageUnavailable("its worker ended each time before it was done")
            await self._jobs.finish(task, await indexing())
        except LeaseLost:
            logger.warning("document %s is another worker's by now", task.document_id)
        except GivenUp as error:
            await self.record(task, self._jobs.fail(task, "cancelled", str(error)))
        except BadInput as error:
            await self.record(task, self._jobs.fail(task, error.code, error.message))
        except Unavailable as error:
            await self.record(task, self._retry_or_fail(task, error))
        except Exception:
            logger.exception("document %s of tenant %s failed", task.document_id, task.tenant_id)
            detail = f"an unexpected error; the log of the ingestion stage has it under document {task.document_id}"
            await self.record(task, self._jobs.fail(task, "internal_error", detail))

    async def record(self, task: DocumentTask, recording: Awaitable[None]) -> None:
        try:
            await recording
        except Exception:
            logger.exception("the state of document %s was not recorded; its lease will run out", task.document_id)

    def _retry_or_fail(self, task: DocumentTask, error: Unavailable) -> Awaitable[None]:
        if task.attempts >= self._config.max_attempts:
            detail = f"given up after {self._config.max_attempts} tries; the last: {error.message}"
            return self._jobs.fail(task, error.code, detail)
        delay_s = self._config.retry_after(task.attempts)
        logger.warning("document %s is tried again in %g s: %s", task.document_id, delay_s, error.message)
        return self._jobs.retry(task, after_s=delay_s)
