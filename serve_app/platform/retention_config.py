"""How long what has come to an end is kept."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from deployments.config import Config, Unit

Days = Annotated[float | None, Unit("days")]


class RetentionConfig(Config):
    """How long is kept what has ended. A tenant may have settings of its own. None: until the tenant is deleted."""

    jobs_days: Days = Field(
        90, gt=0, allow_inf_nan=False, description="jobs from their end, with the errors of their documents"
    )
    audit_days: Days = Field(400, gt=0, allow_inf_nan=False, description="entries of the audit log")
    queries_days: Days = Field(90, gt=0, allow_inf_nan=False, description="entries of the log of queries")
    usage_days: Days = Field(400, gt=0, allow_inf_nan=False, description="counts of questions and tokens by day")
    keys_days: Days = Field(90, gt=0, allow_inf_nan=False, description="keys from their end")
    sweep_every_s: float = Field(3_600, gt=0, description="interval of removing what has been kept long enough")
    compare_every_s: float = Field(
        86_400, gt=0, description="interval of comparing the blob store with the database, whose bytes without a row go"
    )
