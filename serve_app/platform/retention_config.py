"""How long what has come to an end is kept."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from deployments.config import Config, Unit

DAY_S: Final = 86_400.0
KEPT_ANSWER_BYTES: Final = 4 * 1024 * 1024
"""Of one answer that is kept for an Idempotency-Key, unless the service is configured otherwise."""
KEPT_ANSWERS_BYTES: Final = 64 * 1024 * 1024
"""Of all such answers to questions of one tenant."""
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
    failed_bytes_days: Annotated[float, Unit("days")] = Field(
        1,
        gt=0,
        le=400,
        allow_inf_nan=False,
        description="bytes of documents that failed, for `POST /v1/jobs/{job_id}/retry`; a full quota ends it earlier",
    )
    sweep_every_s: float = Field(3_600, gt=0, description="interval of removing what has been kept long enough")
    compare_every_s: float = Field(
        86_400, gt=0, description="interval of comparing the blob store with the database, whose bytes without a row go"
    )

    @property
    def failed_bytes_s(self) -> float:
        return self.failed_bytes_days * DAY_S
