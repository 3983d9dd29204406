"""Ends `rag up` if its Ray node ends by itself. Calls to Ray would wait for the node for ever."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

EVERY_S = 1.0


class Node(Protocol):
    def alive(self) -> bool: ...

    def last_error(self) -> str: ...


@dataclass(slots=True)
class NodeWatch:
    """`end`: why the node has ended, in a sentence; None while it runs."""

    end: str | None = None
    _over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def watching(self, node: Node) -> Iterator[None]:
        """Interrupt the main thread, as Ctrl-C does, if the node ends inside the block."""
        thread = threading.Thread(target=self._watch, args=[node], daemon=True, name="node watch")
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _watch(self, node: Node) -> None:
        while not self._over.wait(EVERY_S):
            if not node.alive():
                error = node.last_error()
                self.end = "the Ray node has ended by itself; start again, and look at the machine's memory"
                self.end += f". Ray says: {error}" if error else ""
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                return
