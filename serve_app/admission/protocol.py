"""The messages between ingress replicas and the limiter. Plain values, picklable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """A tenant's weight in the fair share, and its limits. None means no limit."""

    weight: float = 1.0
    requests_per_minute: int | None = None
    concurrent: int | None = None


@dataclass(frozen=True, slots=True)
class TenantLoad:
    """One tenant's load on one replica.

    `running`: slots in use. `waiting`: questions that wait for a slot.
    `spent`: requests counted against the rate since the last report. `wanted`: requests that wait for more allowance.
    """

    limits: AdmissionLimits
    running: int = 0
    waiting: int = 0
    spent: int = 0
    wanted: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What a replica tells the limiter. `slots`: answers that may be under way in all replicas together, as far as this
    replica knows."""

    replica: str
    slots: int
    tenants: Mapping[str, TenantLoad]


@dataclass(frozen=True, slots=True)
class TenantGrant:
    """One tenant's part of a grant.

    `share`: the replica's slots that are the tenant's when others want slots too. `max_running`: the most slots that
    the tenant may use here; None for no bound. `allowance`: requests that the replica may count before the next grant.
    `remaining`: requests left of the tenant's rate in all replicas together; below 0 when it is overdrawn.
    """

    share: float
    max_running: int | None = None
    allowance: int = 0
    remaining: float = 0.0


@dataclass(frozen=True, slots=True)
class Grant:
    """What one replica may spend until the next grant. `replicas`: how many replicas share the limiter."""

    slots: int
    replicas: int
    tenants: Mapping[str, TenantGrant]


def rate_slice(requests_per_minute: int) -> int:
    """Requests that a replica may count between two grants. Each replica can overshoot a rate by this much."""
    return max(1, requests_per_minute // 20)
