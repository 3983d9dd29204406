"""Replicas of ingestion, by the documents that wait in the job store and by the age of the oldest.

Workers take documents from the job store, so Serve sees no requests, and its own policy would never scale them.
"""

from __future__ import annotations

import math
from typing import Any

from ray.serve.config import AutoscalingContext

from deployments.ingestion.base import ACTIVE_DOCUMENTS, OLDEST_WAITING_S, WAITING_DOCUMENTS

GROWTH = 2.0
"""The most that one decision multiplies the replicas by because of age."""


class IngestionPolicy:
    """`documents_per_replica`: how many may wait or be worked on for each replica. `max_age_s`: how long one may wait;
    beyond it the stage grows, however few wait, because these few are large or slow.
    """

    def __init__(self, documents_per_replica: float = 40, max_age_s: float = 120) -> None:
        if documents_per_replica <= 0 or max_age_s <= 0:
            raise ValueError("documents_per_replica and max_age_s must be above 0")
        self.documents_per_replica = documents_per_replica
        self.max_age_s = max_age_s

    def __call__(self, context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        """The target, within the deployment's bounds, and no state of its own."""
        replicas = context.target_num_replicas
        reported = context.aggregated_metrics or {}
        if not reported.get(WAITING_DOCUMENTS):
            return replicas, {}  # no replica has reported yet
        # All replicas see one job store. The largest number is the newest while a queue grows.
        waiting = max(reported[WAITING_DOCUMENTS].values())
        age_s = max(reported.get(OLDEST_WAITING_S, {}).values(), default=0.0)
        active = sum(reported.get(ACTIVE_DOCUMENTS, {}).values())
        wanted = math.ceil((waiting + active) / self.documents_per_replica)
        if age_s > self.max_age_s:
            running = max(1, context.current_num_replicas)
            wanted = max(wanted, math.ceil(running * min(GROWTH, age_s / self.max_age_s)))
        elif waiting:
            wanted = max(wanted, replicas if age_s > self.max_age_s / 2 else 0)  # does not shrink while it catches up
        # Without a replica nothing would be reported, and it could never grow again.
        lowest, highest = max(1, context.capacity_adjusted_min_replicas), context.capacity_adjusted_max_replicas
        return max(lowest, min(highest, wanted)), {}
