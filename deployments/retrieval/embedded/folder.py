"""The folder of the embedded index: its lock, and what may be in it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from deployments.errors import StageUnavailable

FILE = "passages.db"
FORMER_SUFFIX = ".former"
"""Of the name under which an earlier release's index is kept."""
_LOCK = "lock"


class IndexFolder:
    """One process owns a folder, from `try_lock` to `release` or the process's end."""

    def __init__(self, path: str) -> None:
        self.path = Path(path).expanduser().absolute()
        self._lock: int | None = None

    @property
    def file(self) -> Path:
        return self.path / FILE

    def try_lock(self) -> bool:
        """Make the folder if need be and lock it. False while another process, or another index of this one, has it.

        Raises StageUnavailable for a folder of something else, and OSError. Idempotent.
        """
        if self._lock is not None:
            return True
        check_folder(self.path)
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self._lock = lock
        return True

    def release(self) -> None:
        """Idempotent."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def check_folder(path: Path) -> None:
    """Raises StageUnavailable if something else than the embedded index is there, such as a milvus-lite folder, which
    earlier releases made."""
    if path.is_dir():
        names = {entry.name for entry in path.iterdir()}
        if not names or FILE in names or names == {_LOCK}:
            return
    elif not path.exists():
        return
    raise _not_read(path)


def set_former_aside(path: Path, former: Path) -> Path | None:
    """Rename the index `former` of an earlier release if the folder `path` has no index yet.

    Nothing in it is lost. Returns where it is kept: also one that was set aside before; None if there is none.
    """
    kept = former.with_name(former.name + FORMER_SUFFIX)
    if former.exists() and not kept.exists() and not (path / FILE).exists():
        former.rename(kept)
    return kept if kept.exists() else None


def _not_read(path: Path) -> StageUnavailable:
    return StageUnavailable(
        "retrieval.uri: there is no index that this release reads; earlier ones kept theirs with milvus-lite. Rename "
        "it, start again, and `rag reindex` indexes the documents again from their stored bytes",
        internal=str(path),
    )
