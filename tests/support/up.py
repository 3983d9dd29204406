"""`rag up` as a process, as a person starts it and interrupts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.support.stacks import stacks
from tests.support.starting import start_process

RAG = str(Path(sys.executable).with_name("rag"))


@dataclass(frozen=True, slots=True)
class Up:
    process: subprocess.Popen[bytes]
    data_dir: Path
    log: Path

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, path: Path, within_s: float = 600) -> None:
        end = time.monotonic() + within_s
        while not path.exists():
            assert self.process.poll() is None, self.text()
            self._check_time(end, within_s, f"no {path.name}")
            time.sleep(0.1)

    def wait_for_text(self, text: str, within_s: float = 300) -> None:
        end = time.monotonic() + within_s
        while text not in self.text():
            self._check_time(end, within_s, f"no {text!r} in the log")
            time.sleep(0.1)

    def _check_time(self, end: float, within_s: float, what: str) -> None:
        if time.monotonic() >= end:
            pytest.fail(f"{what} after {within_s:.0f} s\n{self.text()}\n{stacks(self.process.pid)}", pytrace=False)

    def rag(self, *arguments: str) -> str:
        command = [RAG, *arguments, "--data-dir", str(self.data_dir)]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "200"})
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@contextmanager
def up(folder: Path, *arguments: str, until: str = "Ray node", **flags: str) -> Iterator[Up]:
    """A `rag up` in a process group of its own, with further flags of Ray's in its environment; killed if the test
    leaves it running. It is given when its start is past the stage `until`."""
    log = folder / "up.log"
    data_dir = folder / "var"
    log.unlink(missing_ok=True)
    process = start_process(
        [RAG, "up", "--data-dir", str(data_dir), *arguments],
        log,
        {**os.environ, "RAY_ADDRESS": "127.0.0.1:1", "COLUMNS": "200", **flags},
        until,
    )
    descendants: list[psutil.Process] = []
    try:
        yield Up(process, data_dir, log)
    finally:
        if process.poll() is None:
            descendants = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            process.wait()
        for each in descendants:
            if each.is_running():
                each.kill()


def interrupt(running: Up) -> int:
    """Ctrl-C, which a terminal sends to the whole group; then nothing may be left. The exit code."""
    descendants = psutil.Process(running.process.pid).children(recursive=True)
    os.killpg(running.process.pid, signal.SIGINT)
    code = running.process.wait(180)
    _, alive = psutil.wait_procs(descendants, timeout=60)
    assert [each for each in alive if each.status() != psutil.STATUS_ZOMBIE] == []
    return code
