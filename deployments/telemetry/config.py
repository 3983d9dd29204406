"""Configuration of traces."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from deployments.config import Beyond, Config, Unit


class TelemetryConfig(Config):
    """Where traces go, and how many requests have one."""

    exporter: Literal["none", "file", "otlp_grpc", "otlp_http"] = Field(
        "none",
        description="`file`: JSON lines in `folder` on each node; `otlp_grpc` and `otlp_http`: a collector at "
        "`endpoint`",
    )
    endpoint: str = Field(
        "",
        pattern=r"^(https?://[^\s]+)?$",
        description="the collector, such as `http://collector:4317` for gRPC or `http://collector:4318/v1/traces` for "
        "HTTP. Headers with its credentials come from `OTEL_EXPORTER_OTLP_HEADERS`",
    )
    sampling_ratio: float = Field(
        0.1,
        ge=0,
        le=1,
        description="share of requests that are traced; one whose `traceparent` says that it is sampled always is, and "
        "one whose `traceparent` says that it is not never is",
    )
    content: bool = Field(False, description="whether spans hold questions, passages and answers")
    folder: str = Field("traces", description="folder of the files; a relative one lies in `data_dir`")
    max_file_bytes: Annotated[int, Beyond("the next file is begun")] = Field(
        16 * 1024 * 1024, ge=4096, description="length of one file"
    )
    max_files: Annotated[int, Unit("files"), Beyond("the oldest file is removed")] = Field(
        4, ge=1, description="files that are kept on a node"
    )
    max_waiting: Annotated[int, Unit("spans"), Beyond("the oldest span that waits is dropped")] = Field(
        4096, ge=512, description="spans of one process that wait to be exported"
    )

    @model_validator(mode="after")
    def _collector_is_named(self) -> Self:
        if self.exporter.startswith("otlp") and not self.endpoint:
            raise ValueError(f"telemetry.endpoint is missing; telemetry.exporter: {self.exporter} needs a collector")
        if self.endpoint and not self.exporter.startswith("otlp"):
            raise ValueError("telemetry.endpoint has no effect; set telemetry.exporter to otlp_grpc or otlp_http")
        return self

    def resolved(self, folder: Path) -> TelemetryConfig:
        """The same with the folder's path made absolute, a relative one lying in `folder`."""
        return self.model_copy(update={"folder": str(folder / self.folder)})
