"""Takes standard input and output away from all other code: a stray print() would corrupt the frames."""

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
    """Move the standard streams to private descriptors.

    Descriptor 0 is then /dev/null, and descriptor 1 goes to stderr. A closed stream counts as /dev/null.
    """
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
    # Never one of the standard descriptors, even if one is closed: C libraries log to 2.
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE)
    except OSError:
        return fcntl.fcntl(otherwise, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE)
