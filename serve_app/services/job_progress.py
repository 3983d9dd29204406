"""Jobs that callers follow: each is read once after a change, for all of its followers in this replica."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from deployments.errors import RateLimited
from deployments.tasks import spawn_detached
from serve_app.platform.jobs import Jobs, JobSummary

SAFETY_S: Final = 15.0
"""A followed job is read after this time although nobody told of a change: what is told may be lost."""
REST_S: Final = 0.2
"""The least time between two reads of a followed job."""
EMBEDDED_REST_S: Final = 1.0
"""The same on SQLite, where each commit of another process wakes the readers of all jobs."""
_REST_TO_WORK: Final = 10
"""A job with many documents takes longer to read. Its reader rests as many times as long as the last read took, but at
most SAFETY_S seconds."""
_RETRY_AFTER_S: Final = 30.0


class JobProgress:
    """`check_tenant`: raises TenantSuspended or NotFound for a tenant whose jobs may not be read by now. `poll_s`: the
    interval of reads while changes of other processes are not heard. `max_streams`: how many streams one tenant may
    have open."""

    def __init__(
        self, jobs: Jobs, check_tenant: Callable[[str], Awaitable[object]], *, poll_s: float, max_streams: int
    ) -> None:
        self._jobs = jobs
        self._check_tenant = check_tenant
        self._poll_s = poll_s
        self._max_streams = max_streams
        self._followed: dict[tuple[str, str], _Followed] = {}
        self._streams: Counter[str] = Counter()

    def check_room(self, tenant_id: str) -> None:
        """Raises RateLimited if the tenant has as many streams open as it may."""
        if self._streams[tenant_id] >= self._max_streams:
            error = RateLimited(
                f"the tenant follows {self._max_streams} jobs at once already (api.max_job_streams); close some of "
                "those streams, or read GET /v1/jobs/{id} from time to time"
            )
            error.retry_after_s = _RETRY_AFTER_S
            raise error

    @contextmanager
    def streaming(self, tenant_id: str) -> Iterator[None]:
        """Around a stream of a tenant. Raises RateLimited."""
        self.check_room(tenant_id)
        self._streams[tenant_id] += 1
        try:
            yield
        finally:
            self._streams[tenant_id] -= 1
            if not self._streams[tenant_id]:
                del self._streams[tenant_id]

    async def states(self, tenant_id: str, job_id: str, within_s: float) -> AsyncGenerator[JobSummary]:
        """The job as it stands, and again after each change, until it is over or `within_s` seconds have passed.

        Raises what reading it raises: NotFound, TenantSuspended, Unavailable.
        """
        end = time.monotonic() + within_s
        async with self._following(tenant_id, job_id) as followed:
            shown: JobSummary | None = None
            while shown is None or not shown.over:
                moved = followed.moved
                if followed.job is not None and followed.job != shown:
                    shown = followed.job
                    yield shown
                elif followed.error is not None:
                    raise followed.error
                else:
                    try:
                        async with asyncio.timeout(end - time.monotonic()):
                            await moved.wait()
                    except TimeoutError:
                        return

    @asynccontextmanager
    async def _following(self, tenant_id: str, job_id: str) -> AsyncIterator[_Followed]:
        key = tenant_id, job_id
        followed = self._followed.get(key)
        if followed is None or followed.is_done:
            followed = self._followed[key] = _Followed()
            followed.reader = spawn_detached(self._read(tenant_id, job_id, followed))
        followed.followers += 1
        try:
            yield followed
        finally:
            followed.followers -= 1
            if not followed.followers:
                if self._followed.get(key) is followed:
                    del self._followed[key]
                await followed.close()

    async def _read(self, tenant_id: str, job_id: str, followed: _Followed) -> None:
        changes = self._jobs.database.changes
        least_s = EMBEDDED_REST_S if self._jobs.database.config.embedded else REST_S
        try:
            with changes.watch(job_id) as watch:
                while True:
                    await self._check_tenant(tenant_id)
                    began = time.monotonic()
                    job = await self._jobs.summary(tenant_id, job_id)
                    followed.show(job)
                    if job.over:
                        return
                    rest_s = min(max(least_s, _REST_TO_WORK * (time.monotonic() - began)), SAFETY_S)
                    await asyncio.sleep(rest_s)
                    within_s = SAFETY_S if changes.are_heard else self._poll_s
                    await watch.changed(max(0.0, within_s - rest_s))
        except Exception as error:  # its followers raise it
            followed.fail(error)


class _Followed:
    """A job as its reader saw it last. `moved` is set, and replaced, when the reader has something new."""

    def __init__(self) -> None:
        self.job: JobSummary | None = None
        self.error: Exception | None = None
        self.moved = asyncio.Event()
        self.followers = 0
        self.reader: asyncio.Task[None] | None = None

    @property
    def is_done(self) -> bool:
        return self.error is not None or (self.job is not None and self.job.over)

    def show(self, job: JobSummary) -> None:
        if job != self.job:
            self.job = job
            self._move()

    def fail(self, error: Exception) -> None:
        self.error = error
        self._move()

    def _move(self) -> None:
        moved, self.moved = self.moved, asyncio.Event()
        moved.set()

    async def close(self) -> None:
        if self.reader is not None:
            self.reader.cancel()
            await asyncio.wait([self.reader])
