from __future__ import annotations

import signal
import time

import pytest

from rag.cli import node_watch
from rag.cli.node_watch import NodeWatch


class Node:
    def __init__(self, lives: int, error: str = "") -> None:
        self.lives = lives
        self.error = error

    def alive(self) -> bool:
        self.lives -= 1
        return self.lives >= 0

    def last_error(self) -> str:
        return self.error


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_watch, "EVERY_S", 0.01)
    monkeypatch.setattr(signal, "pthread_kill", lambda thread, number: sent.append(number))
    sent.clear()


sent: list[int] = []


@pytest.mark.parametrize(("error", "told"), [("", "memory"), ("an agent failed", "memory. Ray says: an agent failed")])
def test_a_node_that_ends_interrupts_and_says_why(error: str, told: str) -> None:
    watch = NodeWatch()
    with watch.watching(Node(3, error)):
        end = time.monotonic() + 30
        while not sent:
            assert time.monotonic() < end
            time.sleep(0.01)
    assert sent == [signal.SIGINT]
    assert watch.end is not None
    assert watch.end.endswith(told)


def test_a_node_that_lives_is_left_alone() -> None:
    watch = NodeWatch()
    with watch.watching(Node(10**9)):
        time.sleep(0.1)
    assert (sent, watch.end) == ([], None)
