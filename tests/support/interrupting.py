"""`rag up` interrupted at a moment of its start or its stop: does it end in time, and is anything of it left?

Each service has a temporary folder of its own and a mark in its environment, which all of its processes inherit. So its
leftovers are told from what others on the machine have.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from rag.cli.service_file import SERVICE
from tests.support.service import answers, free_port
from tests.support.stacks import stacks

RAG = str(Path(sys.executable).with_name("rag"))
START_S = 600.0
"""How long a whole start may take on a busy machine."""
GRACE_S = 3.0
"""How long processes that were killed may take to be gone."""
_MARK = "RAG_INTERRUPTED"
_LASTING = ("key", "ray_token", "logs", "traces", "rag.db", "blobs", "index", "service.lock")
"""How the names of what a data folder holds after a stop begin. SQLite has files of its own beside `rag.db`."""


@dataclass(frozen=True, slots=True)
class Moment:
    """When Ctrl-C is pressed: `first_s` after the process was made, or, if None, once the service is up.

    It is pressed a second time `again_s` after that, unless this is None.
    """

    first_s: float | None
    again_s: float | None

    def __str__(self) -> str:
        first = "once up" if self.first_s is None else f"at {self.first_s:.2f} s"
        return first if self.again_s is None else f"{first}, again {self.again_s:.2f} s later"


@dataclass(frozen=True, slots=True)
class Ended:
    """`took_s`: from the first signal to the end of the process; None if it had to be killed. `left`: what was left of
    it, a sentence each. `up_s`: how long the start took, if the service came up."""

    moment: Moment
    code: int
    took_s: float | None
    left: tuple[str, ...]
    up_s: float | None
    said: str


def moments(number: int, seed: int, start_s: float, stop_s: float) -> Iterator[Moment]:
    """So many moments, drawn from a start and a stop that take so long. Of three, one is of the stop: it has a second
    signal. Of the others every second one has one, too."""
    chance = random.Random(seed)
    for each in range(number):
        if each % 3 == 2:
            yield Moment(None, chance.uniform(0, stop_s))
        else:
            yield Moment(chance.uniform(0, start_s), chance.uniform(0, stop_s) if chance.random() < 0.5 else None)


def interrupted(moment: Moment, within_s: float, *arguments: str) -> Ended:
    """A `rag up` on an empty data folder, interrupted as a terminal does it.

    It is hung unless it ends `within_s` of the first signal.
    """
    with _folders() as (data_dir, temporary):
        log = data_dir.with_name("up.log")
        mark = f"{os.getpid()}-{time.monotonic_ns()}"
        began = time.monotonic()
        with log.open("wb") as output:
            process = subprocess.Popen(
                [RAG, "up", "--data-dir", str(data_dir), "--port", str(free_port()), *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**_environment(), "TMPDIR": str(temporary), _MARK: mark},
            )
        try:
            up_s = _wait_for(process, data_dir, moment.first_s, began)
            first = time.monotonic()
            _press(process)
            if moment.again_s is not None:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(moment.again_s)
                _press(process)
            took_s: float | None = None
            said = ""
            try:
                process.wait(max(0.0, within_s - (time.monotonic() - first)))
                took_s = time.monotonic() - first
            except subprocess.TimeoutExpired:
                said = "\n" + stacks(process.pid)
        finally:
            _kill(process)
        left = _left(mark, data_dir, temporary) if took_s is not None else ()
        for survivor in _marked(mark):
            with suppress(psutil.NoSuchProcess):
                survivor.kill()
        return Ended(moment, process.returncode, took_s, left, up_s, log.read_text(errors="replace") + said)


@contextmanager
def _folders() -> Iterator[tuple[Path, Path]]:
    """A data folder that is not there yet, and an empty temporary folder, short enough for sockets in it."""
    with (
        tempfile.TemporaryDirectory(prefix="rag-interrupts-") as name,
        tempfile.TemporaryDirectory(prefix="ri-", dir="/tmp", ignore_cleanup_errors=True) as temporary,
    ):
        yield Path(name) / "var", Path(temporary)


def _wait_for(process: subprocess.Popen[bytes], data_dir: Path, first_s: float | None, began: float) -> float | None:
    """Wait for the moment of the first signal. Returns how long the start took if the service is up by then."""
    end = began + (START_S if first_s is None else first_s)
    while process.poll() is None and time.monotonic() < end:
        if (data_dir / SERVICE).exists():
            if first_s is None:
                return time.monotonic() - began
            time.sleep(max(0.0, end - time.monotonic()))
        time.sleep(min(0.05, max(0.0, end - time.monotonic())))
    if first_s is None:
        log = data_dir.with_name("up.log").read_text(errors="replace")
        _kill(process)
        raise RuntimeError(f"the service did not come up:\n{log}")
    return None


def _environment() -> dict[str, str]:
    """This process's, without the switch that makes each process compile every module anew."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | {"COLUMNS": "200"}


def _press(process: subprocess.Popen[bytes]) -> None:
    """Ctrl-C, which a terminal sends to the whole group."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()


def _left(mark: str, data_dir: Path, temporary: Path) -> tuple[str, ...]:
    """An ended service's leftovers: processes, all in its temporary folder, with sockets and the Ray node's folder, and
    files in the data folder that are not for the next start."""
    _, alive = psutil.wait_procs(_marked(mark), timeout=GRACE_S)
    found = [f"process {name} ({process.pid})" for process, name in answers(alive, psutil.Process.name)]
    found += [f"in the temporary folder: {path.relative_to(temporary)}" for path in temporary.iterdir()]
    if data_dir.exists():
        names = sorted(path.name for path in data_dir.iterdir())
        found += [f"in the data folder: {name}" for name in names if not name.startswith(_LASTING)]
    return tuple(found)


def _marked(mark: str) -> Sequence[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # another user's, or one that has ended meanwhile
            if process.environ().get(_MARK) == mark:
                found.append(process)
    return found
