from __future__ import annotations

from pydantic import Field

from deployments.config import Config


class AdmissionConfig(Config):
    """A tenant's own `settings.limits` override `requests_per_minute` and `concurrent`."""

    requests_per_minute: int | None = Field(None, ge=1, description="questions of a tenant a minute; None: no limit")
    concurrent: int | None = Field(None, ge=1, description="answers of a tenant generated at once; None: no limit")
    most_ahead: float = Field(
        0.5,
        ge=0,
        le=4,
        description="answers that may be prepared while generation is fully used, at most, as a share of what it "
        "generates at once. Preparing is retrieval and reranking; the share in use is measured",
    )
    max_waiting: int = Field(32, ge=1, description="questions of one tenant that wait in one ingress replica")
    max_waiting_in_all: int = Field(128, ge=1, description="questions that wait in one ingress replica")
    max_wait_s: float = Field(10, gt=0, description="longest wait for a slot; a shorter deadline shortens it")
    exchange_s: float = Field(
        0.1, gt=0, le=1, description="how often a replica with work reports to the limiter and gets a new grant"
    )
    idle_exchange_s: float = Field(1.0, gt=0, le=5, description="the same for a replica without work")
    lease_s: float = Field(5.0, gt=0, description="after this long without a report a replica's slots go to the others")
    memory_s: float = Field(
        30.0, gt=0, description="time constant of a tenant's recent use; tenants that used less are served first"
    )
    kept_back: float = Field(
        0.1,
        ge=0,
        le=0.5,
        description="share of slots that tenants above their fair share leave free for tenants that asked recently",
    )
