from __future__ import annotations

import asyncio
import hashlib
import os
import pickle
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest
import s3fs

from deployments.errors import DocumentTooLarge, InvalidRequest, NotFound, Unavailable
from serve_app.storage.blobs import Blobs
from serve_app.storage.config import BlobConfig
from tests.support.site import answer, s3_environment, serving

MEGABYTE = 1 << 20


@pytest.fixture(params=["folder", "remote"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    return Blobs(BlobConfig(url=str(tmp_path / "blobs") if request.param == "folder" else f"memory://{uuid4().hex}/b"))


def stored(blobs: Blobs) -> list[str]:
    file_system, root = fsspec.core.url_to_fs(blobs.config.url)
    return sorted(file_system.find(root))


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece


async def test_what_was_written_is_read(blobs: Blobs) -> None:
    for data in (b"", b"\0\xff", os.urandom(3 * MEGABYTE)):
        blob = await blobs.write("a", data)
        assert (blob.sha256, blob.size) == (hashlib.sha256(data).hexdigest(), len(data))
        assert await pickle.loads(pickle.dumps(blobs)).read(blob.key) == data


async def test_a_stream_is_put_together(blobs: Blobs) -> None:
    data = [os.urandom(MEGABYTE // 2 + n) for n in range(5)]
    blob = await blobs.write_stream("a", pieces(*data), max_bytes=sum(map(len, data)))
    assert await blobs.read(blob.key) == b"".join(data)
    assert blob.sha256 == hashlib.sha256(b"".join(data)).hexdigest()
    assert len(stored(blobs)) == 1


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [(0, 4, b"0123"), (3, 5, b"34"), (8, None, b"89"), (8, 20, b"89"), (0, 0, b""), (4, 4, b"")],
)
async def test_a_part_is_read(blobs: Blobs, start: int, stop: int | None, expected: bytes) -> None:
    blob = await blobs.write("a", b"0123456789")
    assert await blobs.read(blob.key, start, stop) == expected


async def test_a_stream_is_read_piece_by_piece_as_it_is_asked_for(
    blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(3 * MEGABYTE + 5)
    blob = await blobs.write("a", data)
    reads: list[int] = []
    read = Blobs._read

    def counted(store: Blobs, key: str, start: int, stop: int | None) -> bytes:
        piece = read(store, key, start, stop)
        reads.append(len(piece))
        return piece

    monkeypatch.setattr(Blobs, "_read", counted)
    stream = blobs.read_stream(blob.key, 0, len(data))
    assert await anext(stream) == data[:MEGABYTE]
    assert reads == [MEGABYTE], "nothing is read ahead"
    assert b"".join([piece async for piece in stream]) == data[MEGABYTE:]
    assert reads == [MEGABYTE] * 3 + [5]
    part = [piece async for piece in blobs.read_stream(blob.key, MEGABYTE - 1, 2 * MEGABYTE)]
    assert part == [data[MEGABYTE - 1 : 2 * MEGABYTE - 1], data[2 * MEGABYTE - 1 : 2 * MEGABYTE]]
    assert [piece async for piece in blobs.read_stream(blob.key, 7, 7)] == []


async def test_a_part_of_an_object_of_s3_is_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    key = f"a/{'0' * 64}-{'0' * 16}"
    async with serving() as site:
        for name, value in s3_environment(site).items():
            monkeypatch.setenv(name, value)
        blobs = Blobs(BlobConfig(url="s3://bucket/b"))
        site.replies[f"/bucket/b/{key}"] = answer(b"234", status="206 Partial Content", Content_Range="bytes 2-4/10")
        assert [piece async for piece in blobs.read_stream(key, 2, 5)] == [b"234"]
        [asked] = site.asked
        assert asked.headers["range"] == "bytes=2-4"
        site.replies.clear()
        with pytest.raises(NotFound):
            await blobs.read(key, 2, 5)
    s3fs.S3FileSystem.clear_instance_cache()  # the next one is to look for another endpoint


async def test_a_stream_whose_bytes_are_deleted_breaks_off(blobs: Blobs) -> None:
    blob = await blobs.write("a", bytes(2 * MEGABYTE))
    stream = blobs.read_stream(blob.key, 0, blob.size)
    await anext(stream)
    await blobs.delete(blob.key)
    with pytest.raises(NotFound):
        await anext(stream)


async def test_a_stream_with_fewer_bytes_than_it_should_have_is_not_taken_for_whole(blobs: Blobs) -> None:
    blob = await blobs.write("a", b"0123456789")
    with pytest.raises(Unavailable, match="end before byte 11"):
        await anext(blobs.read_stream(blob.key, 0, 11))


async def test_each_upload_is_its_own(blobs: Blobs) -> None:
    first, second = await blobs.write("a", b"x"), await blobs.write("a", b"x")
    await blobs.delete(first.key)
    assert await blobs.read(second.key) == b"x"


async def test_a_stream_over_the_limit_leaves_nothing(blobs: Blobs) -> None:
    taken: list[int] = []

    async def endless() -> AsyncIterator[bytes]:
        while True:
            taken.append(1)
            yield bytes(MEGABYTE)

    with pytest.raises(DocumentTooLarge, match="larger than 3145728 bytes"):
        await blobs.write_stream("a", endless(), max_bytes=3 * MEGABYTE)
    assert len(taken) == 4
    assert stored(blobs) == []


async def test_a_stream_that_breaks_leaves_nothing(blobs: Blobs) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield bytes(2 * MEGABYTE)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await blobs.write_stream("a", broken(), max_bytes=1 << 30)
    assert stored(blobs) == []


async def test_a_stream_whose_client_goes_leaves_nothing(blobs: Blobs) -> None:
    waiting = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield bytes(2 * MEGABYTE)
        waiting.set()
        await asyncio.Event().wait()

    writing = asyncio.create_task(blobs.write_stream("a", stalled(), max_bytes=1 << 30))
    await waiting.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert stored(blobs) == []


async def test_deleting_twice_is_deleting_once(blobs: Blobs) -> None:
    blob = await blobs.write("a", b"x")
    for _ in range(2):
        await blobs.delete(blob.key)
    with pytest.raises(NotFound):
        await blobs.read(blob.key)


@pytest.mark.parametrize("key", ["", "a", "../secret", f"../{'0' * 64}-{'0' * 16}", f"a/../{'0' * 64}", "/etc/passwd"])
async def test_no_key_leads_out_of_the_store(blobs: Blobs, key: str) -> None:
    for use in (blobs.read, blobs.delete):
        with pytest.raises(InvalidRequest, match="not a key"):
            await use(key)


@pytest.mark.parametrize("tenant", ["..", ".", "", "a/b", "a\0"])
async def test_no_tenant_leads_out_of_the_store(blobs: Blobs, tenant: str) -> None:
    with pytest.raises(InvalidRequest, match="not a key"):
        await blobs.write(tenant, b"x")
    assert stored(blobs) == []


async def test_a_full_or_missing_disk_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_bytes(b"a file where the folder should be")
    with pytest.raises(Unavailable, match="the blob store failed"):
        await Blobs(BlobConfig(url=str(tmp_path / "blobs"))).write("a", b"x")


async def test_only_its_owner_reads_the_folder(tmp_path: Path) -> None:
    blobs = Blobs(BlobConfig(url=str(tmp_path / "blobs")))
    blob = await blobs.write("a", b"x")
    modes = [(tmp_path / "blobs" / each).stat().st_mode & 0o777 for each in ("", "a", blob.key)]
    assert modes == [0o700, 0o700, 0o600]


async def test_bytes_are_on_the_disk_before_they_have_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    sync, replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        steps.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().name.split('-')[0]}")
        sync(descriptor)

    def publish(source: Path, target: Path) -> Path:
        steps.append("rename")
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", publish)
    await Blobs(BlobConfig(url=str(tmp_path / "blobs"))).write("a", b"x")
    assert steps == ["sync .incoming", "rename", "sync a", "sync blobs"]
