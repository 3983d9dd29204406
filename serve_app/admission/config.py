from __future__ import annotations

from pydantic import Field

from deployments.config import Config


class AdmissionConfig(Config):
    """Tenants' own `settings.limits` go before `requests_per_minute` and `concurrent`."""

    requests_per_minute: int | None = Field(None, ge=1, description="questions of a tenant a minute; None: no limit")
    concurrent: int | None = Field(None, ge=1, description="answers of a tenant generated at once; None: no limit")
    most_ahead: float = Field(
        0.5,
        ge=0,
        le=4,
        description="most answers under way beyond what generation takes at once, as a share of it: those whose "
        "passages are still being looked for. How many there are is measured",
    )
    max_waiting: int = Field(32, ge=1, description="questions of one tenant that wait in one ingress replica")
    max_waiting_in_all: int = Field(128, ge=1, description="questions that wait in one ingress replica")
    max_wait_s: float = Field(10, gt=0, description="longest wait for a place; a shorter deadline goes before it")
    exchange_s: float = Field(
        0.1, gt=0, le=1, description="how often a replica with work reports to the limiter and is granted its share"
    )
    idle_exchange_s: float = Field(1.0, gt=0, le=5, description="the same without work")
    lease_s: float = Field(5.0, gt=0, description="silence after which a replica's places are granted to the others")
    memory_s: float = Field(
        30.0, gt=0, description="so far back it counts who had how many places; who had fewer goes first"
    )
    kept_back: float = Field(
        0.1,
        ge=0,
        le=0.5,
        description="share of the places that tenants which want more than theirs leave to others that asked lately",
    )
