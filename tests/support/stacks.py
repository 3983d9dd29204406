"""Where a process and those below it stand, for the report of a test that waited in vain."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

_FRAMES = 4
_WAITING = ("threading.py", "selectors.py", "queue.py", "thread.py")
"""Files of Python's own in which a thread waits that has nothing to do."""
_LOOPS = ("main_loop", "run_loop", "listen_error_messages", "_connection_worker_thread", "lambda", "event_loop")
"""Words in the names of functions, mostly Ray's, in which an idle thread stands."""


def stacks(pid: int) -> str:
    """A line for each Python thread that does or waits for something of its own, innermost call first."""
    root = psutil.Process(pid)
    return "\n".join(line for process in (root, *root.children(recursive=True)) for line in _threads(process))


def _threads(process: psutil.Process) -> Iterator[str]:
    try:
        title = " ".join(process.cmdline()).strip()[-70:]
        py_spy = Path(sys.executable).with_name("py-spy")
        dump = subprocess.run([py_spy, "dump", "--json", "--pid", str(process.pid)], capture_output=True, timeout=30)
    except (psutil.NoSuchProcess, subprocess.TimeoutExpired):
        return
    if dump.returncode:  # not a Python process
        return
    for thread in json.loads(dump.stdout):
        frames = [(Path(frame["filename"]).name, frame["name"], frame["line"]) for frame in thread["frames"]]
        if frames and frames[0][0] not in _WAITING and not any(word in frames[0][1] for word in _LOOPS):
            where = " < ".join(f"{name} {file}:{line}" for file, name, line in frames[:_FRAMES])
            yield f"{title} | {thread['thread_name']}: {where}"
