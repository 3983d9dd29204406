"""What is stored against the quota, and what crashes leave."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from deployments.errors import QuotaExceeded, RateLimited
from serve_app.platform.jobs import ROOM_RETRY_S, Jobs
from serve_app.platform.tenants import Tenants
from serve_app.storage.database import Database
from tests.support.disk import Disk
from tests.support.storage import Clock, document, indexed


@pytest.mark.every_database
async def test_the_disk_keeps_to_the_quota_whatever_happens(database: Database, tmp_path: Path) -> None:
    disk = Disk(database, tmp_path / "blobs", random.Random(20))
    await disk.work(100)
    await disk.settle()
    assert {"upload", "crash", "cancel", "delete"} <= disk.counts.keys()


async def upload(jobs: Jobs, id: str, content: str) -> None:
    new = document(id, content, blob=f"{id} {content[:20]}")
    await jobs.reserve("a", {new.blob: new.size})
    await jobs.accept("a", [new])


async def test_versions_that_are_being_replaced_count_until_their_bytes_are_gone(
    database: Database, jobs: Jobs, clock: Clock
) -> None:
    await Tenants(database).patch("a", settings={"quotas": {"bytes": 10}})
    for content in ("a" * 9, "b" * 9):
        await upload(jobs, "d", content)
    with pytest.raises(RateLimited, match="full while documents are being replaced") as refused:
        await upload(jobs, "d", "c" * 9)
    assert refused.value.retry_after_s == ROOM_RETRY_S
    for _ in range(2):
        [task] = await jobs.queue.claim("w", lease_s=30, limit=10)
        await jobs.queue.finish(task, indexed({}))
    with pytest.raises(RateLimited):  # a search may still read the first version, but its bytes may go now
        await upload(jobs, "d", "c" * 9)
    removable = await jobs.queue.list_removable_blobs(10)
    assert [blob.key for blob in removable] == ["d aaaaaaaaa"]
    await jobs.queue.forget_blobs(removable)
    await upload(jobs, "d", "c" * 9)
    with pytest.raises(RateLimited):
        await upload(jobs, "e", "d" * 2)


async def test_who_is_over_a_quota_for_good_is_told_so(database: Database, jobs: Jobs) -> None:
    await upload(jobs, "d", "a" * 9)
    await Tenants(database).patch("a", settings={"quotas": {"bytes": 5}})
    with pytest.raises(QuotaExceeded, match="would keep 9 bytes, its quota is 5"):
        await upload(jobs, "e", "b")
