"""The process that parses documents, one after another, and answers its parent with the text or an error.

`python -m deployments.ingestion.parsers.child FD PARENT_PID module:function`

Answers are JSON, never pickles. So a crafted document that takes over this process gains no power over the parent.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from multiprocessing.connection import Connection
from pathlib import Path

from deployments.errors import BadInput, BrokenDocument
from deployments.ingestion.base import ParsedDocument
from deployments.ingestion.parsers.limits import Limits

READY = b"ready"
NICENESS = 10
"""Parsing yields to work that answers questions. On Linux' scale 19 is the lowest priority."""
_PR_SET_PDEATHSIG = 1

Parse = Callable[[bytes, str, str, Limits], ParsedDocument]


def main(descriptor: int, parent: int, function: str) -> None:
    _die_with(parent)
    os.nice(NICENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent decides what ends
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.modules["numpy"] = None  # type: ignore[assignment]  # keeps openpyxl from importing it, which would cost memory
    module, _, name = function.partition(":")
    parse: Parse = getattr(importlib.import_module(module), name)
    connection = Connection(descriptor)
    connection.send_bytes(READY)
    with suppress(EOFError):
        while True:
            request = json.loads(connection.recv_bytes())
            connection.send_bytes(_answer(parse, request, connection.recv_bytes()))


def _answer(parse: Parse, request: dict[str, int | str], data: bytes) -> bytes:
    """The document, or the error, as JSON."""
    memory_mb = int(request["memory_mb"])
    _limit_memory(memory_mb)
    limits = Limits(**{name: int(request[name]) for name in ("text_characters", "inflation", "pages")})
    try:
        document = parse(data, str(request["filename"]), str(request["media_type"]), limits)
        answer = {field.name: getattr(document, field.name) for field in fields(ParsedDocument)}
        return json.dumps(answer, ensure_ascii=False).encode()
    except MemoryError:
        error: BadInput = BrokenDocument(f"reading the document takes more than {memory_mb:,} MiB of memory; split it")
    except BadInput as bad_input:
        error = bad_input
    finally:
        _lift_memory_limit()
    return json.dumps({"code": error.code, "message": error.message}).encode()


def _limit_memory(megabytes: int) -> None:
    """Allow the process so much more address space than it has now."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return
    used = int(statm.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = used + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def _lift_memory_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, even in the middle of a document."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent ended before the line above
        sys.exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
