"""What is kept of a tenant beside its name, and the lock that holds off its deletion."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Collection
from typing import Annotated, Any, Final

from pydantic import Field, field_validator
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from deployments.config import Beyond, Config, Unit
from deployments.errors import InvalidRequest, NotFound
from deployments.types import Language
from serve_app.platform.retention_config import Days
from serve_app.storage.tables import Tenant


class Limits(Config):
    """Limits of one tenant. A limit that is not set is the service's own.

    `max_tokens`, `top_k` and `deadline_s` can only be narrower than the service's; a wider value has no effect.
    `requests_per_minute` and `concurrent` replace the service's, and may be wider.
    """

    max_tokens: Annotated[int | None, Beyond("422")] = Field(None, ge=1, description="length of an answer")
    top_k: Annotated[int | None, Unit("passages"), Beyond("422")] = Field(
        None, ge=1, description="passages that an answer may use"
    )
    deadline_s: Annotated[float | None, Beyond("the deadline is shortened to it")] = Field(
        None, gt=0, allow_inf_nan=False, description="time for a whole request"
    )
    requests_per_minute: Annotated[int | None, Unit("questions a minute"), Beyond("429")] = Field(
        None, ge=1, description="rate of questions"
    )
    concurrent: Annotated[int | None, Unit("answers"), Beyond("they wait")] = Field(
        None, ge=1, description="answers at the same time"
    )


class Quotas(Config):
    """What a tenant may store. A quota that is not set is unlimited."""

    documents: Annotated[int | None, Beyond("403")] = Field(None, ge=0, description="number of documents")
    bytes: Annotated[int | None, Beyond("403")] = Field(None, ge=0, description="size of the documents as handed in")
    chunks: Annotated[int | None, Beyond("the document fails and says why")] = Field(
        None, ge=0, description="number of chunks"
    )


class Retention(Config):
    """How long is kept what has ended. What is not set is the service's own (`retention`)."""

    jobs_days: Days = Field(
        None, gt=0, le=36_500, description="jobs from their end, with the errors of their documents"
    )
    audit_days: Days = Field(None, gt=0, le=36_500, description="entries of the audit log")
    queries_days: Days = Field(None, gt=0, le=36_500, description="entries of the log of queries")
    usage_days: Days = Field(None, gt=0, le=36_500, description="counts of questions and tokens by day")
    keys_days: Days = Field(None, gt=0, le=36_500, description="keys from their end")


HIDDEN_SECRET: Final = "whsec_********"
"""What a webhook's secret is shown as. Sent back, it leaves the secret as it is."""


class Webhook(Config):
    """The address that gets a message when a job of the tenant has ended. Messages are signed with the secret."""

    url: str = Field(
        max_length=2_048,
        pattern=r"^https?://[^\s\x00]+$",
        description="where messages are sent",
        examples=["https://app.example.org/hooks/rag"],
    )
    secret: str | None = Field(
        None,
        repr=False,
        pattern=r"^whsec_(\*{8}|[A-Za-z0-9+/]{32,86}={0,2})$",
        description="`whsec_` and the base64 of 24 to 64 bytes; a new one is made if it is left out. Only the answer "
        f"to the request that sets it shows it in full. Later answers show `{HIDDEN_SECRET}`, which may be sent back",
    )

    @field_validator("secret")
    @classmethod
    def _decodes(cls, secret: str | None) -> str | None:
        if secret not in (None, HIDDEN_SECRET):
            try:
                size = len(base64.b64decode(secret.removeprefix("whsec_"), validate=True))
            except ValueError:
                raise ValueError("is not base64 after whsec_") from None
            if not 24 <= size <= 64:
                raise ValueError(f"stands for {size} bytes; 24 to 64 are asked for")
        return secret


class Settings(Config):
    """Behaviour for one tenant."""

    default_language: Language | None = Field(
        None, description="language of an answer if neither the request nor the question tells it"
    )
    prompt_preamble: str = Field(
        "", max_length=4_000, pattern=r"^[^\x00]*$", description="text before the system part of each prompt"
    )
    model: str | None = Field(None, description="one of the deployed models; none: the deployment's own")
    limits: Limits = Limits()
    weight: Annotated[float, Unit("weight")] = Field(
        1.0,
        gt=0,
        le=1_000,
        allow_inf_nan=False,
        description="share of generation and of indexing, relative to the weights of other tenants",
    )
    quotas: Quotas = Quotas()
    retention: Retention = Retention()
    webhook: Webhook | None = Field(
        None, description="address that gets a message when a job has ended that was accepted after it was set"
    )

    def with_secret(self, before: Settings) -> Settings:
        """The same with the webhook's secret in full: its own, that of `before`, or a new one.

        Raises InvalidRequest where there is none to keep.
        """
        if self.webhook is None:
            return self
        secret = self.webhook.secret or f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
        if secret == HIDDEN_SECRET:
            if before.webhook is None or before.webhook.secret is None:
                raise InvalidRequest(
                    "settings.webhook.secret: there is none yet to keep; send one, or leave it out",
                    field="settings.webhook.secret",
                )
            secret = before.webhook.secret
        return self.model_copy(update={"webhook": self.webhook.model_copy(update={"secret": secret})})

    def shown(self) -> dict[str, Any]:
        """Ready for JSON, the webhook's secret hidden."""
        shown = self.model_dump()
        if self.webhook is not None:
            shown["webhook"]["secret"] = HIDDEN_SECRET
        return shown


async def require_open(session: AsyncSession, tenant_id: str, *, alone: bool = False) -> Settings:
    """Lock a tenant against its deletion until the transaction ends, and return its settings.

    Every transaction that adds something to a tenant begins with this. With `alone` it also excludes other such
    transactions. So a count still holds when it commits, and later rows are locked by one transaction only. Neither
    lock delays the logs, whose rows only refer to the tenant. Raises NotFound.
    """
    lock = select(Tenant).where(Tenant.id == tenant_id).with_for_update(read=not alone, key_share=alone)
    row = await session.scalar(lock)
    if row is None or row.status == "deleting":
        raise NotFound(f"tenant {tenant_id!r} does not exist")
    return Settings.model_validate(row.settings)


async def lock_existing(session: AsyncSession, tenant_ids: Collection[str]) -> set[str]:
    """Those of the tenants that exist. They are not removed until the transaction ends."""
    existing = select(Tenant.id).where(Tenant.id.in_(tenant_ids)).order_by(Tenant.id)
    return {*await session.scalars(existing.with_for_update(read=True, key_share=True))}
