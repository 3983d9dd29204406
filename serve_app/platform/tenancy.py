"""What is kept of a tenant beside its name, and the lock that holds off its deletion."""

from __future__ import annotations

from pydantic import Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from deployments.config import Config
from deployments.errors import NotFound
from deployments.types import Language
from serve_app.platform.models import Tenant


class Limits(Config):
    """Narrower limits of one tenant; None leaves the service's own."""

    max_tokens: int | None = Field(None, ge=1)
    top_k: int | None = Field(None, ge=1)
    deadline_s: float | None = Field(None, gt=0, allow_inf_nan=False)


class Quotas(Config):
    """How much a tenant may keep; None is unlimited."""

    documents: int | None = Field(None, ge=0)
    bytes: int | None = Field(None, ge=0, description="of the documents as handed in")
    chunks: int | None = Field(None, ge=0)


class Settings(Config):
    default_language: Language | None = Field(None, description="where neither request nor question tells")
    prompt_preamble: str = Field(
        "", max_length=4_000, pattern=r"^[^\x00]*$", description="put before the system part of each prompt"
    )
    model: str | None = Field(None, description="one of the deployed models; None takes the deployment's own")
    limits: Limits = Limits()
    quotas: Quotas = Quotas()


async def require_open(session: AsyncSession, tenant_id: str, *, alone: bool = False) -> Settings:
    """Lock a tenant against its deletion until the transaction ends, and return its settings.

    Every transaction that adds something of a tenant's begins with this; `alone`, it also keeps others like it
    out, so that what was counted still holds when it commits, and rows locked after it are locked by one only.
    Neither lock holds up the logs, whose rows only refer to the tenant. Raises NotFound.
    """
    lock = select(Tenant).where(Tenant.id == tenant_id).with_for_update(read=not alone, key_share=alone)
    row = await session.scalar(lock)
    if row is None or row.status == "deleting":
        raise NotFound(f"tenant {tenant_id!r} does not exist")
    return Settings.model_validate(row.settings)
