"""What gates and the limiter tell each other. Plain values, picklable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for a tenant: its weight among those that want the same places, and its limits, None for none."""

    weight: float = 1.0
    requests_per_minute: int | None = None
    concurrent: int | None = None


@dataclass(frozen=True, slots=True)
class TenantLoad:
    """One tenant at one replica: places in use, questions that wait for one, requests `spent` since the last report,
    and those `wanted`, which wait because nothing of its allowance is left."""

    terms: Terms
    running: int = 0
    waiting: int = 0
    spent: int = 0
    wanted: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """`places`: how many answers may be under way in all replicas together, as far as this one sees."""

    replica: str
    places: int
    tenants: Mapping[str, TenantLoad]


@dataclass(frozen=True, slots=True)
class TenantGrant:
    """`share`: of the replica's places, what is the tenant's when others want them too; `most`: how many it may have at
    all. `allowance`: requests that it may send from now on, before the next grant; `level` of `requests_per_minute` are
    left to it in all replicas together."""

    share: float
    most: int | None = None
    allowance: int = 0
    level: float = 0.0


@dataclass(frozen=True, slots=True)
class Grant:
    """What one replica may spend until the next. `replicas`: how many share."""

    places: int
    replicas: int
    tenants: Mapping[str, TenantGrant]


def slice_of(requests_per_minute: int) -> int:
    """Requests that a replica may spend of a rate between two grants: so far can it be overshot, by each replica."""
    return max(1, requests_per_minute // 20)
