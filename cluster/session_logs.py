"""The logs of the last sessions in the data folder. Ray's own are in the node's folder, which is removed with it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path

FOLDER = "logs"
OUTPUT = "rag-up.log"
"""What Ray and Serve write to the terminal of `rag up`. The terminal itself is for the stages of the start."""
SESSIONS_KEPT = 5
FILE_BYTES = 1024 * 1024
"""Of a longer file its end is kept."""
SESSION_BYTES = 32 * 1024 * 1024
"""Of all files that are kept of a session. The ones written to last come first."""


@contextmanager
def output_of_session(data_dir: Path) -> Iterator[TextIOWrapper]:
    """The file for what Ray prints, in a new folder for the logs of this session. The oldest sessions are removed."""
    folder = data_dir / FOLDER / f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%SZ}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    others = [other for other in sorted(folder.parent.iterdir()) if other != folder]  # a clock may have been set back
    for old in others[: max(0, len(others) + 1 - SESSIONS_KEPT)]:
        shutil.rmtree(old, ignore_errors=True)
    with (folder / OUTPUT).open("w", encoding="utf-8") as output:
        yield output
    if not (folder / OUTPUT).stat().st_size:
        (folder / OUTPUT).unlink()
    with suppress(OSError):
        folder.rmdir()  # where nothing was logged


def keep(node_folder: Path, data_dir: Path) -> None:
    """Copy the logs of a Ray node to the folder of the newest session, if there is one. Files that fail are left."""
    sessions = sorted((data_dir / FOLDER).glob("*"))
    logs = node_folder / "session_latest" / "logs"
    if not sessions or not logs.is_dir():
        return
    files = [path for path in logs.rglob("*") if path.is_file() and not path.is_symlink()]
    left = SESSION_BYTES
    for path in sorted(files, key=lambda path: path.stat().st_mtime, reverse=True):
        with suppress(OSError):
            end = _end_of(path, min(FILE_BYTES, left))
            if end:
                target = sessions[-1] / path.relative_to(logs)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(end)
                left -= len(end)


def _end_of(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - most))
        return file.read(most)
