"""Documents named as file://: regular files below the allowed folders, and nothing else."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from deployments.errors import InvalidRequest
from serve_app.outbound.fetched import Fetched, SizeBudget
from serve_app.outbound.places import places_of

_REFUSED = "names no file below one of the sources.file_roots of this tenant"
"""Said of all that may not be read, whether or not it is there."""


class FileSource:
    """`roots`: the tenants of each root, see SourcesConfig."""

    def __init__(self, roots: Mapping[str, Sequence[str]]) -> None:
        self._roots = roots

    async def fetch(self, uri: str, budget: SizeBudget, tenant_id: str) -> Fetched:
        """Raises InvalidRequest, DocumentTooLarge."""
        path = _path(uri)
        data = await asyncio.to_thread(_read, path, budget, places_of(self._roots, tenant_id))
        return Fetched(data, path.name, "")


def _read(path: Path, budget: SizeBudget, roots: Sequence[str]) -> bytes:
    try:
        with os.fdopen(_open(path, roots), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise InvalidRequest("names something that is no regular file")
            budget.check(status.st_size)
            data = file.read(budget.remaining + 1)  # it may grow while it is read
    except OSError:
        raise InvalidRequest(_REFUSED) from None
    budget.take(len(data))
    return data


def _open(path: Path, roots: Sequence[str]) -> int:
    """A descriptor of what the path leads to. Raises InvalidRequest if that is not below a root, or OSError.

    Symbolic links are resolved first. Then each step is opened from the one before and must be no link, so that a
    link put in its place meanwhile leads nowhere. Opening waits for no writer of a pipe.
    """
    real = Path(os.path.realpath(path))
    for root in map(Path, map(os.path.realpath, roots)):
        if real != root and real.is_relative_to(root):
            break
    else:
        raise InvalidRequest(_REFUSED)
    *folders, name = real.relative_to(root).parts
    at = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for folder in folders:
            below = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at = below
        if not stat.S_ISREG(os.stat(name, dir_fd=at, follow_symlinks=False).st_mode):
            raise InvalidRequest("names something that is no regular file")  # to open a device may have effects
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
    finally:
        os.close(at)


def _path(uri: str) -> Path:
    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost"):
        raise InvalidRequest("names another machine; a file's URI is file:///PATH")
    if parts.query or parts.fragment or "?" in uri or "#" in uri:
        raise InvalidRequest("holds ? or #; in a path they are written %3F and %23")
    try:
        path = unquote(parts.path, errors="strict")
    except UnicodeDecodeError:
        raise InvalidRequest("is not UTF-8 where it is percent-encoded") from None
    if "\0" in path or not path.startswith("/"):
        raise InvalidRequest("must be of the form file:///PATH")
    return Path(path)
