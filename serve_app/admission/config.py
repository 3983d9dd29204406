from __future__ import annotations

from typing import Annotated

from pydantic import Field

from deployments.config import Beyond, Config, Unit


class AdmissionConfig(Config):
    """How slots in generation are shared among tenants. A slot is the right to one answer under way.

    `requests_per_minute` and `concurrent` are for tenants that have no such limit of their own (`settings.limits`).
    """

    requests_per_minute: Annotated[int | None, Unit("questions a minute"), Beyond("429")] = Field(
        None, ge=1, description="rate of one tenant; none: no limit"
    )
    concurrent: Annotated[int | None, Unit("answers"), Beyond("they wait")] = Field(
        None, ge=1, description="answers of one tenant at the same time; none: no limit"
    )
    most_ahead: Annotated[float, Unit("share"), Beyond("they wait")] = Field(
        0.5,
        ge=0,
        le=4,
        description="upper bound on extra slots, as a share of the answers that generation produces at once. Extra "
        "slots let passages be found for the next answers meanwhile; the service measures how many it needs",
    )
    max_waiting: Annotated[int, Unit("questions"), Beyond("429")] = Field(
        32, ge=1, description="questions of one tenant that wait in one ingress replica"
    )
    max_waiting_in_all: Annotated[int, Unit("questions"), Beyond("503")] = Field(
        128, ge=1, description="questions of all tenants that wait in one ingress replica"
    )
    max_wait_s: Annotated[
        float,
        Beyond("429 or 503, at once if it is foreseen; with `api.fallback: extractive` quotations in place of 503"),
    ] = Field(10, gt=0, description="wait for a slot; a shorter deadline shortens it")
    exchange_s: float = Field(
        0.1,
        gt=0,
        le=1,
        description="interval at which a replica with work reports to the limiter and gets a new grant of slots",
    )
    idle_exchange_s: float = Field(1.0, gt=0, le=5, description="the same for a replica without work")
    lease_s: float = Field(
        5.0, gt=0, description="time without a report after which a replica's slots go to the other replicas"
    )
    memory_s: float = Field(
        30.0, gt=0, description="time constant of a tenant's recent use; tenants that used less are served first"
    )
    kept_back: Annotated[float, Unit("share")] = Field(
        0.1,
        ge=0,
        le=0.5,
        description="share of slots that tenants above their fair share leave free for tenants that asked recently",
    )
