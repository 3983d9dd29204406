"""The file by which commands find the running service, and the lock that refuses a second start."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from cluster import session_logs
from rag.cli.errors import CliError

SERVICE = "service.json"
KEY = "key"
RAY_TOKEN = "ray_token"
_LOCK = "service.lock"


@dataclass(frozen=True, slots=True)
class RunningService:
    """`key_file` is None where the service made no key of its own; `ray_folder` is the Ray node's temporary folder."""

    url: str
    key_file: str | None
    pid: int
    ray_folder: str

    def write(self, data_dir: Path) -> None:
        temporary = data_dir / f".{SERVICE}"
        temporary.write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")
        temporary.replace(data_dir / SERVICE)

    @classmethod
    def read(cls, data_dir: Path) -> RunningService | None:
        """None if there is no such file, or it is not one that this code wrote."""
        try:
            return cls(**json.loads((data_dir / SERVICE).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def alive(self) -> bool:
        import psutil

        return bool(psutil.pid_exists(self.pid))


@contextmanager
def owned(data_dir: Path) -> Iterator[None]:
    """Lock a data folder for one service. A new one is for its owner alone.

    Leftovers of a killed service are removed first, this one's at the end. Of their logs session_logs keeps some.
    """
    from filelock import FileLock, Timeout

    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(data_dir / _LOCK)
        lock.acquire(timeout=0)
    except Timeout:
        running = RunningService.read(data_dir)
        where = f" at {running.url} (process {running.pid})" if running else ""
        raise CliError(
            f"{data_dir} is in use by a service that runs{where}; stop that one, or start with another --data-dir"
        ) from None
    except OSError as error:
        raise CliError(
            f"{data_dir} cannot be used as the data folder: {error.strerror}; name another --data-dir"
        ) from None
    try:
        remove_leftovers(data_dir)
        yield
    finally:
        remove_leftovers(data_dir)
        lock.release()


def remove_leftovers(data_dir: Path) -> None:
    """Of a service that has ended: its file, and its Ray node's folder, of whose logs session_logs keeps some."""
    left = RunningService.read(data_dir)
    if left is not None and Path(left.ray_folder).name.startswith("rag-"):
        session_logs.keep(Path(left.ray_folder), data_dir)
        shutil.rmtree(left.ray_folder, ignore_errors=True)
    with suppress(FileNotFoundError):
        (data_dir / SERVICE).unlink()
