"""Uploaded bytes, each upload under a key of its own: in a local folder, or wherever fsspec reaches.

Equal bytes are not shared between uploads, because then nobody could delete any: a document that was just accepted
might rest on them.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final, ParamSpec, TypeVar

import fsspec

from deployments.errors import DocumentTooLarge, InvalidRequest, NotFound, RagError, Unavailable
from serve_app.storage.config import BlobConfig

TENANT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""What a tenant may be called: it is the first part of its blobs' keys."""
_KEY = re.compile(rf"{TENANT_ID.pattern}/[0-9a-f]{{64}}-[0-9a-f]{{16}}")
_LISTED: Final = 500
"""Keys that are listed at once."""
_UNFINISHED: Final = ".incoming-"
"""How the names of files begin that are being written."""
_STEP_BYTES: Final = 1 << 20
"""How much of a stream goes to the store, or comes from it, in one step."""

_P = ParamSpec("_P")
_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class Blob:
    """`sha256` is hexadecimal, `size` in bytes."""

    key: str
    sha256: str
    size: int


class Blobs:
    """Implements the ingestion stage's BlobStore.

    Raises Unavailable where the store cannot be reached or is full.
    """

    def __init__(self, config: BlobConfig) -> None:
        self.config = config

    def new_key(self, tenant_id: str, sha256: str) -> str:
        """A key that no other upload has."""
        return _checked(f"{tenant_id}/{sha256}-{secrets.token_hex(8)}")

    async def write(self, tenant_id: str, data: bytes, key: str | None = None) -> Blob:
        """Store bytes durably, under a new key unless one is given."""

        async def whole() -> AsyncIterator[bytes]:
            yield data

        return await self.write_stream(tenant_id, whole(), len(data), key)

    async def write_stream(
        self, tenant_id: str, chunks: AsyncIterator[bytes], max_bytes: int, key: str | None = None
    ) -> Blob:
        """Store a stream of bytes durably, under a new key unless one is given.

        Raises DocumentTooLarge as soon as it exceeds `max_bytes`. However it ends, nothing half-written remains.
        """
        spool, gathered, size = _Spool(self._folder), bytearray(), 0
        try:
            async for chunk in chunks:
                size += len(chunk)
                if size > max_bytes:
                    raise DocumentTooLarge(
                        f"the document is larger than {max_bytes} bytes; split it or raise the limit"
                    )
                gathered += chunk
                if len(gathered) >= _STEP_BYTES:
                    await _off_loop(spool.append, bytes(gathered))
                    gathered.clear()
            await _off_loop(spool.append, bytes(gathered))
            sha256 = spool.digest.hexdigest()
            key = self.new_key(tenant_id, sha256) if key is None else _checked(key)
            await _off_loop(self._publish, spool, key)
        finally:
            await _off_loop(spool.discard)
        return Blob(key, sha256, size)

    async def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """The bytes from `start` up to `stop`, by default all; fewer where the blob has fewer. Raises NotFound."""
        return await _off_loop(self._read, _checked(key), start, stop)

    async def read_stream(self, key: str, start: int, stop: int) -> AsyncGenerator[bytes]:
        """The bytes from `start` up to `stop` in pieces. Each is read when it is asked for, so only one is in memory.

        Nothing is held between pieces, and the bytes under a key never change. So if they are deleted meanwhile, the
        next piece raises NotFound. Raises Unavailable if the blob has fewer bytes.
        """
        while start < stop:
            wanted = min(_STEP_BYTES, stop - start)
            piece = await self.read(key, start, start + wanted)
            if len(piece) != wanted:
                raise Unavailable(f"the stored bytes end before byte {stop}", internal=f"under {key!r}")
            yield piece
            start += wanted

    async def delete(self, key: str) -> None:
        """Remove bytes that no document needs any longer. Idempotent."""
        await _off_loop(self._delete, _checked(key))

    async def delete_tenant(self, tenant_id: str) -> tuple[int, int]:
        """Remove all bytes of a tenant: how many uploads, and how many bytes they were."""
        if not TENANT_ID.fullmatch(tenant_id):
            raise InvalidRequest(f"{tenant_id[:80]!r} is not a tenant's id")
        return await _off_loop(self._delete_tenant, tenant_id)

    async def list_tenant(self, tenant_id: str) -> AsyncGenerator[dict[str, int]]:
        """All uploads of a tenant, some at a time: their sizes by their keys."""
        if not TENANT_ID.fullmatch(tenant_id):  # the platform's own row is none
            return
        listing = await _off_loop(self._listing, tenant_id)
        while some := await _off_loop(lambda: dict(islice(listing, _LISTED))):
            yield some

    async def remove_unfinished(self, older_than_s: float) -> int:
        """Remove what uploads left that were cut off by a crash so long ago; how many there were."""
        return await _off_loop(self._remove_unfinished, time.time() - older_than_s)

    @property
    def _folder(self) -> Path | None:
        return Path(self.config.url) if self.config.embedded else None

    def _remote(self) -> tuple[Any, str]:
        """fsspec's file system (which it keeps between calls) and the root within it."""
        file_system, root = fsspec.core.url_to_fs(self.config.url)
        return file_system, root.rstrip("/")

    def _publish(self, spool: _Spool, key: str) -> None:
        path = spool.synced()
        if self._folder is None:
            file_system, root = self._remote()
            file_system.put_file(str(path), f"{root}/{key}")
            return
        target = self._folder / key
        target.parent.mkdir(mode=0o700, exist_ok=True)
        path.replace(target)
        for changed in (target.parent, self._folder):  # a new name is durable once its folder is
            _sync_folder(changed)

    def _read(self, key: str, start: int, stop: int | None) -> bytes:
        try:
            if self._folder is not None:
                with (self._folder / key).open("rb") as file:
                    file.seek(start)
                    return file.read(-1 if stop is None else stop - start)
            file_system, root = self._remote()
            # A whole blob is read without limits: some stores then read its parts at once.
            limits = {} if (start, stop) == (0, None) else {"start": start, "end": stop}
            data: bytes = file_system.cat_file(f"{root}/{key}", **limits)
        except FileNotFoundError:
            raise NotFound(
                "the bytes are not in the blob store; delete the document and hand it in again",
                internal=f"under {key!r}",
            ) from None
        return data

    def _delete(self, key: str) -> None:
        try:
            if self._folder is None:
                file_system, root = self._remote()
                file_system.rm_file(f"{root}/{key}")
            else:
                (self._folder / key).unlink()
                _sync_folder((self._folder / key).parent)
        except FileNotFoundError:
            pass

    def _listing(self, tenant_id: str) -> Iterator[tuple[str, int]]:
        if self._folder is not None:
            folder = self._folder / tenant_id
            found = ((f"{tenant_id}/{file.name}", file.stat) for file in os.scandir(folder)) if folder.is_dir() else ()
            for key, stat in found:
                with suppress(FileNotFoundError):  # removed meanwhile
                    yield key, stat().st_size
            return
        file_system, root = self._remote()
        file_system.invalidate_cache()
        with suppress(FileNotFoundError):
            for path, info in file_system.find(f"{root}/{tenant_id}", detail=True).items():
                yield f"{tenant_id}/{path.rpartition('/')[2]}", int(info["size"])

    def _remove_unfinished(self, before: float) -> int:
        removed = 0
        if self._folder is not None and self._folder.is_dir():  # for a remote store they are in the system's folder
            for file in self._folder.glob(f"{_UNFINISHED}*"):
                with suppress(FileNotFoundError):
                    if file.stat().st_mtime < before:
                        file.unlink()
                        removed += 1
        return removed

    def _delete_tenant(self, tenant_id: str) -> tuple[int, int]:
        try:
            if self._folder is None:
                file_system, root = self._remote()
                file_system.invalidate_cache()
                sizes = [int(info["size"]) for info in file_system.find(f"{root}/{tenant_id}", detail=True).values()]
                if sizes:
                    file_system.rm(f"{root}/{tenant_id}", recursive=True)
            else:
                sizes = [file.stat().st_size for file in (self._folder / tenant_id).iterdir()]
                shutil.rmtree(self._folder / tenant_id)
                _sync_folder(self._folder)
        except FileNotFoundError:
            return 0, 0
        return len(sizes), sum(sizes)


class _Spool:
    """A temporary file for bytes that arrive, made with the first of them.

    It lies in the folder where it will be published by renaming; for a remote store it may lie anywhere.
    """

    def __init__(self, folder: Path | None) -> None:
        self.digest = hashlib.sha256()
        self._folder = folder
        self._file: IO[bytes] | None = None

    def append(self, data: bytes) -> None:
        if self._file is None:
            if self._folder is not None:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = tempfile.NamedTemporaryFile(dir=self._folder, prefix=_UNFINISHED, delete=False)  # noqa: SIM115
        self.digest.update(data)
        self._file.write(data)

    def synced(self) -> Path:
        """The file's path, once all of it is on the disk."""
        assert self._file is not None, "nothing was appended"
        self._file.flush()
        os.fsync(self._file.fileno())
        return Path(self._file.name)

    def discard(self) -> None:
        if self._file is not None:
            self._file.close()
            Path(self._file.name).unlink(missing_ok=True)  # published by renaming, it is gone already


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _checked(key: str) -> str:
    """The key, if it can name nothing outside the store."""
    if not _KEY.fullmatch(key):
        raise InvalidRequest(f"{key[:160]!r} is not a key of the blob store")
    return key


async def _off_loop(function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
    """Run a step in a thread. If the caller is cancelled, the step is waited for first, so that what follows (the
    removal of a file) does not run beside it."""
    step = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(step)
    except asyncio.CancelledError:
        await asyncio.wait([step])
        step.cancelled() or step.exception()  # seen, so that asyncio does not report it
        raise
    except RagError:
        raise
    except Exception as error:  # each remote store has errors of its own
        raise Unavailable("the blob store failed; try again", internal=f"{type(error).__name__}: {error}") from error
