"""Faster start of a replica."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def gc_paused() -> Iterator[None]:
    """Import and load with the cyclic garbage collector switched off, then exempt what was made from collection.

    Large libraries make about a million objects while they are imported, and none of them is garbage. Searching them
    took a sixth of the time of `import sentence_transformers`, and would be repeated during later requests. What a
    failed attempt made is not exempt, because repeated attempts would pile it up.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if was_enabled:
            gc.enable()
