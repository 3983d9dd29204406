from __future__ import annotations

import ipaddress
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import Field, field_validator

from deployments.config import Config

Port = Annotated[int, Field(ge=1, le=65_535)]


class ReachConfig(Config):
    """Where requests may go that the service makes on somebody's behalf."""

    hosts: tuple[str, ...] = Field(
        ("*",), description="names that may be asked; *.example.org is all below one, * all; none: no request is made"
    )
    allow_http: bool = Field(False, description="http:// beside https://")
    ports: tuple[Port, ...] = Field((), description="ports beside the scheme's own")
    networks: tuple[str, ...] = Field(
        (), description="networks beside the public Internet whose addresses may be reached, such as 10.1.0.0/16"
    )

    @field_validator("hosts")
    @classmethod
    def _names(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if not host or "/" in host or ("*" in host.removeprefix("*.") and host != "*"):
                raise ValueError(f"{host!r} is no name of a host, *.NAME or *")
        return hosts

    @field_validator("networks")
    @classmethod
    def _written_as_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            ipaddress.ip_network(network)
        return networks


class SourcesConfig(Config):
    """Where documents may be fetched from that are handed in as a URI, and how much of it at once."""

    file_roots: tuple[str, ...] = Field(
        (), description="folders whose files may be named as file://; the same on every node with an ingress replica"
    )
    s3_buckets: tuple[str, ...] = Field(
        (), description="BUCKET or BUCKET/PREFIX that may be named as s3://; credentials are s3fs's own, AWS_…"
    )
    web: ReachConfig = ReachConfig()
    max_bytes: int = Field(50 * 1024 * 1024, ge=1, description="of all documents that one request names")
    timeout_s: float = Field(60.0, gt=0, description="for all documents that one request names")
    max_redirects: int = Field(5, ge=0)
    concurrent: int = Field(8, ge=1, description="documents that a replica fetches at once")

    @field_validator("file_roots")
    @classmethod
    def _absolute(cls, roots: tuple[str, ...]) -> tuple[str, ...]:
        for root in roots:
            if not PurePosixPath(root).is_absolute():
                raise ValueError(f"{root!r} is not an absolute path")
        return roots

    @field_validator("s3_buckets")
    @classmethod
    def _buckets(cls, buckets: tuple[str, ...]) -> tuple[str, ...]:
        for bucket in buckets:
            if not bucket.strip("/") or bucket.startswith("/") or "://" in bucket:
                raise ValueError(f"{bucket!r} is not of the form BUCKET or BUCKET/PREFIX")
        return buckets


class WebhookConfig(Config):
    """How tenants' webhooks are told that a job has ended."""

    web: ReachConfig = ReachConfig()
    attempts: int = Field(9, ge=1, description="tries of one message before it is given up")
    first_delay_s: float = Field(5.0, gt=0, description="wait before the second try; four times as long each time")
    timeout_s: float = Field(15.0, gt=0, description="for one try")
    concurrent: int = Field(8, ge=1, description="messages that a replica sends at once, each to another tenant")
    poll_s: float = Field(2.0, gt=0, description="how often a replica looks for jobs that have ended")
    keep_s: float = Field(7 * 86_400, ge=0, description="how long it stays in the database what became of a message")
    documents: int = Field(100, ge=0, description="documents of the job that a message lists; the counts are of all")
