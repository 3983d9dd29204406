"""Times the parsing of given files in the child process that parses documents, with its peak memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from deployments.errors import BadInput
from deployments.ingestion.config import IngestionConfig
from deployments.ingestion.parsing import DocumentParser

_RESET_PEAK = "5"
"""Written to a process's `clear_refs`, this makes its peak memory its present one."""


@dataclass(frozen=True, slots=True)
class Cost:
    """`megabytes`: the peak memory of the process. `outcome`: characters of text, or why the file was refused."""

    path: Path
    seconds: float
    megabytes: float
    outcome: str


def figures(folders: Sequence[Path]) -> dict[str, object]:
    """The slowest and the largest of all files in these folders, and how many were refused."""
    costs = [*_measured([*_files(folders)])]
    for cost in sorted(costs, key=lambda cost: -cost.seconds):
        print(f"{cost.seconds:8.2f} s {cost.megabytes:6.0f} MB  {cost.path}: {cost.outcome}", flush=True)
    slowest, largest = max(costs, key=lambda cost: cost.seconds), max(costs, key=lambda cost: cost.megabytes)
    return {
        "timed_files": len(costs),
        "slowest_s": round(slowest.seconds, 2),
        "slowest": slowest.path.name,
        "largest_mb": round(largest.megabytes),
        "largest": largest.path.name,
    }


def _files(folders: Sequence[Path]) -> Iterator[Path]:
    for folder in folders:
        yield from sorted(path for path in folder.rglob("*") if path.is_file())


def _measured(paths: Sequence[Path]) -> Iterator[Cost]:
    with asyncio.Runner() as runner:
        parser = DocumentParser(IngestionConfig(parse_processes=1))
        try:
            runner.run(parser.parse(b"a", "first.txt", ""))  # the process starts with its first document
            for path in paths:
                yield _cost(runner, parser, path)
        finally:
            parser.close()


def _cost(runner: asyncio.Runner, parser: DocumentParser, path: Path) -> Cost:
    data = path.read_bytes()
    child = _child()
    if child is not None:
        Path(f"/proc/{child}/clear_refs").write_text(_RESET_PEAK)
    began = time.perf_counter()
    try:
        outcome = f"{len(runner.run(parser.parse(data, path.name, '')).text):,} characters"
    except BadInput as error:
        outcome = f"refused, {error.message}"
    seconds = time.perf_counter() - began
    return Cost(path, seconds, _peak(_child()), outcome)


def _child() -> int | None:
    """The process that parses. It is replaced after a hundred documents, and when one crashed it."""
    return next((child.pid for child in psutil.Process().children()), None)


def _peak(child: int | None) -> float:
    """The peak memory of a process in megabytes; 0 if it has ended."""
    status = Path(f"/proc/{child}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM:")), 0.0)
