"""Whether the service is alive and ready, and what serves it; and what an error's code means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

from pydantic import Field

from deployments.types import StageStatus
from serve_app.schemas.base import ResponseModel


class Alive(ResponseModel):
    alive: bool


class Stage(ResponseModel):
    ready: bool
    engine: str | None
    model: str | None
    replicas: int
    detail: str | None

    @classmethod
    def of(cls, replicas: Sequence[StageStatus]) -> Self:
        """A stage by the first of its replicas that is ready, or else the first one."""
        shown = next((status for status in replicas if status.ready), replicas[0] if replicas else None)
        if shown is None:
            return cls(ready=False, engine=None, model=None, replicas=0, detail="no replica answers")
        return cls(
            ready=shown.ready,
            engine=shown.engine,
            model=shown.model,
            replicas=sum(status.ready for status in replicas),
            detail=shown.detail,
        )


class Readiness(ResponseModel):
    ready: bool
    stages: dict[str, Stage]

    @classmethod
    def of(cls, statuses: Mapping[str, Sequence[StageStatus]]) -> Self:
        """Ready once every stage has a replica that is. `statuses`: of each stage's replicas."""
        stages = {name: Stage.of(replicas) for name, replicas in statuses.items()}
        return cls(ready=all(stage.ready for stage in stages.values()), stages=stages)


class CheckedStage(ResponseModel):
    healthy: bool
    milliseconds: float
    error: str | None = Field(None, description="the error's code")
    detail: str | None = None


class DeepHealth(ResponseModel):
    """Healthy if every stage answered the question."""

    healthy: bool
    stages: dict[str, CheckedStage]


class Problem(ResponseModel):
    """An error (RFC 9457)."""

    type: str = Field(json_schema_extra={"format": "uri"}, description="where the error is described")
    title: str
    status: int
    detail: str = Field(description="what was wrong this time, and what to do")
    code: str = Field(description="to decide by")
    retryable: bool = Field(description="whether the same request may succeed later")
    request_id: str
    trace_id: str = Field(description="what its trace, its line in the log and the query log know it by")


class DescribedError(ResponseModel):
    code: str
    title: str
    status: int
    retryable: bool
