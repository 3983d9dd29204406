"""Settings of what the service asks for: documents by URI, and webhooks."""

from __future__ import annotations

import ipaddress
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import Field, field_validator

from deployments.config import Beyond, Config, Unit
from serve_app.outbound.places import check_tenants

Port = Annotated[int, Field(ge=1, le=65_535)]


class ReachConfig(Config):
    """Hosts and addresses that may be reached."""

    hosts: tuple[str, ...] = Field(
        ("*",),
        description="allowed host names; `*.example.org`: all names below it; `*`: all; empty: no request is made",
    )
    allow_http: bool = Field(False, description="allow `http://` beside `https://`")
    ports: tuple[Port, ...] = Field((), description="allowed ports beside those of the schemes")
    networks: tuple[str, ...] = Field(
        (), description="allowed networks beside the public Internet, for example `10.1.0.0/16`"
    )
    lookups: Annotated[int, Beyond("they wait")] = Field(
        16, ge=1, description="names that one replica looks up at the same time, in threads of their own"
    )
    tenant_lookups: Annotated[int, Unit("lookups"), Beyond("they wait")] = Field(
        2, ge=1, description="of these, lookups for one tenant. One that was given up counts until DNS answers"
    )
    lookup_s: Annotated[float, Beyond("502; a try of a webhook has failed")] = Field(
        5.0, gt=0, description="time to look one name up, with the wait for a lookup to begin"
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
    """Documents by URI: from where, and how much at once."""

    file_roots: dict[str, tuple[str, ...]] = Field(
        {},
        description="folders whose files may be named as `file://`, each with the ids of the tenants that may name "
        "them. `*` means all tenants, and `{tenant}` in a folder stands for the tenant's id, for example "
        "`{/srv/documents/{tenant}: ['*']}`. The folders are the same on every node with an ingress replica",
    )
    s3_buckets: dict[str, tuple[str, ...]] = Field(
        {},
        description="`BUCKET` or `BUCKET/PREFIX` that may be named as `s3://`, with tenants as in `file_roots`; "
        "credentials are those of s3fs, such as `AWS_ACCESS_KEY_ID`",
    )
    web: ReachConfig = ReachConfig()
    max_bytes: Annotated[int, Beyond("413")] = Field(
        50 * 1024 * 1024, ge=1, description="size of all documents that one request names"
    )
    timeout_s: Annotated[float, Beyond("502")] = Field(
        60.0, gt=0, description="time to fetch all documents that one request names"
    )
    max_redirects: Annotated[int, Beyond("422")] = Field(5, ge=0, description="redirects that are followed")
    concurrent: Annotated[int, Unit("documents"), Beyond("they wait")] = Field(
        16, ge=1, description="documents that one replica fetches at the same time"
    )
    tenant_concurrent: Annotated[int, Unit("documents"), Beyond("they wait")] = Field(
        4, ge=1, description="of these, documents for one tenant"
    )

    @field_validator("file_roots", "s3_buckets", mode="before")
    @classmethod
    def _with_tenants(cls, allowed: Any) -> Any:
        if isinstance(allowed, list | tuple):
            if not allowed:
                return {}
            raise ValueError("is a list; name the tenants of each, as in `{/srv/laws: [acme]}`, `*` for all tenants")
        return allowed

    @field_validator("file_roots")
    @classmethod
    def _absolute(cls, roots: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        check_tenants(roots)
        for root in roots:
            if not PurePosixPath(root).is_absolute():
                raise ValueError(f"{root!r} is not an absolute path")
        return roots

    @field_validator("s3_buckets")
    @classmethod
    def _buckets(cls, buckets: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        check_tenants(buckets)
        for bucket in buckets:
            if not bucket.strip("/") or bucket.startswith("/") or "://" in bucket:
                raise ValueError(f"{bucket!r} is not of the form BUCKET or BUCKET/PREFIX")
        return buckets


class WebhookConfig(Config):
    """Webhooks: messages to tenants that a job has ended."""

    web: ReachConfig = ReachConfig()
    attempts: Annotated[int, Beyond("the message is given up")] = Field(9, ge=1, description="tries of one message")
    first_delay_s: float = Field(
        5.0,
        gt=0,
        description="wait before the second try; each later wait is four times as long as the one before. Nine tries "
        "span about 30 hours",
    )
    timeout_s: Annotated[float, Beyond("the try has failed")] = Field(15.0, gt=0, description="time of one try")
    concurrent: Annotated[int, Unit("messages"), Beyond("they wait")] = Field(
        8, ge=1, description="messages that one replica sends at the same time, at most one per tenant"
    )
    poll_s: float = Field(2.0, gt=0, description="interval at which a replica looks for jobs that have ended")
    keep_s: float = Field(7 * 86_400, ge=0, description="how long the result of a message stays in the database")
    documents: Annotated[int, Beyond("they are only counted")] = Field(
        100, ge=0, description="documents of the job that a message lists"
    )
