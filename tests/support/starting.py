"""One Ray node starts at a time: two that start at once on two cores are later than one after the other."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock

from cluster.node import OwnedNode, owned_node

_NODE_S = 240


def start_lock() -> FileLock:
    """Held while a node starts. All processes of a test run share it."""
    return FileLock(Path(os.environ["RAY_AUTH_TOKEN_PATH"]).with_name("start.lock"))


@contextmanager
def node_of_this_process() -> Iterator[OwnedNode]:
    """A Ray node with the test run's token, and this process connected to it."""
    with ExitStack() as stack:
        with start_lock():
            token_file = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
            node = stack.enter_context(owned_node(token_file, token_file.parent))
        yield node


def start_process(
    command: Sequence[str], log: Path, env: Mapping[str, str], until: str = "Ray node"
) -> subprocess.Popen[bytes]:
    """A `rag up` in a process group of its own, as a terminal has it. What it prints is added to `log`. Returns when
    its start is past the stage `until`, or has failed."""
    with start_lock(), log.open("ab") as file:
        former = file.tell()
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True, env=env)
        end = time.monotonic() + _NODE_S
        while process.poll() is None and time.monotonic() < end:
            if f"✓ {until}".encode() in log.read_bytes()[former:]:
                break
            time.sleep(0.1)
    return process
