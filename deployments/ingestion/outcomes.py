"""Records how a claimed document ended: indexed, failed, cancelled, or queued for another attempt."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from deployments.errors import BadInput, StageUnavailable, Unavailable
from deployments.ingestion.base import DocumentCancelled, DocumentTask, IndexedDocument, JobStore, LeaseLost
from deployments.ingestion.config import IngestionConfig
from deployments.telemetry import spans, tracing

logger = logging.getLogger(__name__)


class OutcomeRecorder:
    """Turns what indexing a document returns or raises into a record of the job store."""

    def __init__(self, config: IngestionConfig, jobs: JobStore) -> None:
        self._config = config
        self._jobs = jobs

    async def index_and_record(self, task: DocumentTask, index: Callable[[], Awaitable[IndexedDocument]]) -> None:
        """Call `index`, and record how it ended, in the current span too. Raises nothing but cancellation."""
        try:
            if task.attempts > self._config.max_attempts:
                raise StageUnavailable("its worker ended each time before it was done")
            indexed = await index()
            with tracing.span(spans.PUBLISH):
                await self._jobs.finish(task, indexed)
        except LeaseLost:
            logger.warning("document %s is another worker's by now", task.document_id)
        except DocumentCancelled as error:
            tracing.current().set_attribute("rag.cancelled", True)
            await self.record(task, self._jobs.fail(task, "cancelled", str(error)))
        except BadInput as error:
            tracing.mark(tracing.current(), error)
            await self.record(task, self._jobs.fail(task, error.code, error.message))
        except Unavailable as error:
            tracing.mark(tracing.current(), error)
            await self.record(task, self._retry_or_fail(task, error))
        except Exception as error:
            tracing.mark(tracing.current(), error)
            logger.exception("document %s of tenant %s failed", task.document_id, task.tenant_id)
            detail = f"an unexpected error; the log of the ingestion stage has it under document {task.document_id}"
            await self.record(task, self._jobs.fail(task, "internal_error", detail))

    async def record(self, task: DocumentTask, recording: Awaitable[None]) -> None:
        """Await a write to the job store. If it fails, the document's lease runs out and a worker takes it again."""
        try:
            with tracing.span(spans.PUBLISH):
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
