"""vLLM's own times of an answer as spans."""

from __future__ import annotations

import time
from typing import Protocol

from deployments.telemetry import spans, tracing


class EngineTimes(Protocol):
    """Of vLLM's RequestStateStats: seconds of the monotonic clock, which all processes of a machine share."""

    queued_ts: float
    scheduled_ts: float
    first_token_ts: float
    last_token_ts: float


def trace_engine_times(times: EngineTimes | None) -> None:
    """Spans below the current one: the wait in the engine, prefill and decode. None for what the engine did not reach.

    `times` is None where the engine keeps none.
    """
    if times is None or not tracing.current().is_recording():
        return
    since_1970 = time.time() - time.monotonic()
    ends = (times.queued_ts, times.scheduled_ts, times.first_token_ts, times.last_token_ts)
    for name, start, end in zip((spans.QUEUE, spans.PREFILL, spans.DECODE), ends, ends[1:], strict=False):
        if 0 < start <= end:
            span = tracing.begin(name, at_ns=int((since_1970 + start) * 1e9))
            tracing.end(span, at_ns=int((since_1970 + end) * 1e9))
