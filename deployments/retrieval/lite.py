"""A milvus-lite folder, owned by this process: the engine behind a loopback port, and the folder's lock."""

from __future__ import annotations

import atexit
from pathlib import Path
from typing import Any

from milvus_lite.adapter.grpc.server import start_server_in_thread
from milvus_lite.db import MilvusLite
from milvus_lite.exceptions import DataDirLockedError


class LiteFolder:
    """Not thread-safe: the index calls it from its one worker thread.

    pymilvus would start the engine by itself for a path, but then a locked folder is a logged traceback and no error.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path).expanduser().absolute()
        self._running: tuple[Any, MilvusLite, int] | None = None

    def try_start(self) -> str | None:
        """Take the folder's lock and serve it; returns the engine's URI, or None while another process has the lock."""
        if self._running is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._running = start_server_in_thread(str(self.path))
            except DataDirLockedError:
                return None
            atexit.register(self.stop)
        return f"http://127.0.0.1:{self._running[2]}"

    def stop(self) -> None:
        """Write what is in memory and release the lock. Idempotent."""
        if self._running is not None:
            (server, database, _), self._running = self._running, None
            atexit.unregister(self.stop)
            server.stop(grace=1).wait()
            database.close()
