"""What makes a replica start sooner."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Import and load with the cyclic garbage collector off, and keep what was made out of its sight for good.

    The large libraries make about a million objects while they are imported, none of them garbage; looking for some
    took a sixth of the time that `import sentence_transformers` needs, and would go on doing so in later requests. What
    a failure leaves stays in sight: whoever tries again and again would heap it up.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if was_enabled:
            gc.enable()
