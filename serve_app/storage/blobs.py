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
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, ParamSpec, TypeVar

import fsspec

from deployments.errors import DocumentTooLarge, InvalidRequest, NotFound, RagError, Unavailable
from serve_app.storage.config import BlobConfig

TENANT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""What a tenant may be called: it is the first part of its blobs' keys."""
_KEY = re.compile(rf"{TENANT_ID.pattern}/[0-9a-f]{{64}}-[0-9a-f]{{16}}")
_STEP_BYTES: Final = 1 << 20
"""How much of a stream is gathered before it goes to the disk in one step."""

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

    async def write(self, tenant_id: str, data: bytes) -> Blob:
        """Store bytes durably."""

        async def whole() -> AsyncIterator[bytes]:
            yield data

        return await self.write_stream(tenant_id, whole(), len(data))

    async def write_stream(self, tenant_id: str, chunks: AsyncIterator[bytes], max_bytes: int) -> Blob:
        """Store a stream of bytes durably.

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
            key = _checked(f"{tenant_id}/{sha256}-{secrets.token_hex(8)}")
            await _off_loop(self._publish, spool, key)
        finally:
            await _off_loop(spool.discard)
        return Blob(key, sha256, size)

    async def read(self, key: str) -> bytes:
        """Raises NotFound."""
        return await _off_loop(self._read, _checked(key))

    async def delete(self, key: str) -> None:
        """Remove bytes that no document needs any longer. Idempotent."""
        await _off_loop(self._delete, _checked(key))

    async def delete_tenant(self, tenant_id: str) -> tuple[int, int]:
        """Remove all bytes of a tenant: how many uploads, and how many bytes they were."""
        if not TENANT_ID.fullmatch(tenant_id):
            raise InvalidRequest(f"{tenant_id[:80]!r} is not a tenant's id")
        return await _off_loop(self._delete_tenant, tenant_id)

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

    def _read(self, key: str) -> bytes:
        try:
            if self._folder is not None:
                return (self._folder / key).read_bytes()
            file_system, root = self._remote()
            data: bytes = file_system.cat_file(f"{root}/{key}")
        except FileNotFoundError:
            raise NotFound(f"the bytes under {key!r} are not in the blob store; hand the document in again") from None
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
            self._file = tempfile.NamedTemporaryFile(dir=self._folder, prefix=".incoming-", delete=False)  # noqa: SIM115
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
        raise Unavailable(f"the blob store failed: {type(error).__name__}: {error}") from error
