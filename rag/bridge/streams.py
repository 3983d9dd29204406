"""Standard input and output as nobody else's: a stray print(), a C library or a child would corrupt the frames."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass

_FIRST_FREE = 3


@dataclass(frozen=True, slots=True)
class Streams:
    """Descriptors that no child inherits."""

    input: int
    output: int


def take_over() -> Streams:
    """From now on descriptor 0 is /dev/null, and what is written to descriptor 1 goes to stderr. A stream that is
    closed is taken for /dev/null."""
    nothing = os.open(os.devnull, os.O_RDWR)
    taken = Streams(_private(0, nothing), _private(1, nothing))
    os.dup2(nothing, 0)
    try:
        os.dup2(2, 1)
    except OSError:
        os.dup2(nothing, 1)
    if nothing >= _FIRST_FREE:
        os.close(nothing)
    return taken


def _private(descriptor: int, otherwise: int) -> int:
    # Above the standard ones, even where one of those is closed: 2 as the output would get what C libraries log.
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE)
    except OSError:
        return fcntl.fcntl(otherwise, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE)
