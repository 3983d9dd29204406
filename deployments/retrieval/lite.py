"""Serves a milvus-lite folder from this process: the engine on a loopback port, and the folder's lock."""

from __future__ import annotations

import atexit
from pathlib import Path
from typing import Any

from milvus_lite.adapter.grpc.server import start_server_in_thread
from milvus_lite.db import MilvusLite
from milvus_lite.exceptions import DataDirLockedError


class LiteFolder:
    """Not thread-safe: the connection calls it from its one thread.

    pymilvus would start the engine by itself for a path. But then a locked folder is only a logged traceback.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path).expanduser().absolute()
        self._running: tuple[Any, MilvusLite, int] | None = None

    def try_start(self) -> str | None:
        """Lock the folder and serve it. Returns the engine's URI, or None while another process has the lock."""
        if self._running is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._running = start_server_in_thread(str(self.path))
            except DataDirLockedError:
                return None
            atexit.register(self.stop)
        return f"http://127.0.0.1:{self._running[2]}"

    def stop(self) -> None:
        """Write what is in memory to the folder, and release its lock. Idempotent."""
        if self._running is not None:
            (server, database, _), self._running = self._running, None
            atexit.unregister(self.stop)
            server.stop(grace=1).wait()
            database.close()
