"""The tables of what has happened: who did what, what became of questions, and what they used."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from serve_app.storage.declarative import TenantOwned

MAX_SUBJECT = 256
"""Characters of an audit entry's subject: those of the longest id."""


class AuditEntry(TenantOwned):
    """Who did what, append-only. `actor` is a key's id; `subject` names what was acted on. No content."""

    __tablename__ = "audit_log"
    __table_args__ = (Index(None, "tenant_id", "at", "sequence"),)

    sequence: Mapped[int] = mapped_column(BigInteger().with_variant(Integer(), "sqlite"), primary_key=True)
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(64))
    role: Mapped[str] = mapped_column(String(16))
    request_id: Mapped[str] = mapped_column(String(128))
    action: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(String(MAX_SUBJECT))
    details: Mapped[dict[str, Any]]


class QueryLogEntry(TenantOwned):
    """What an answered query took. Neither the question nor the answer. `key_id`, `request_id` and `trace_id` are empty
    for what was logged before they were kept."""

    __tablename__ = "query_log"
    __table_args__ = (Index(None, "tenant_id", "at"),)

    query_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    at: Mapped[datetime]
    key_id: Mapped[str] = mapped_column(String(64))
    request_id: Mapped[str]
    trace_id: Mapped[str] = mapped_column(String(32))
    user: Mapped[str] = mapped_column("user_id", String(256))
    language: Mapped[str] = mapped_column(String(8))
    outcome: Mapped[str] = mapped_column(String(64))
    engine: Mapped[str | None] = mapped_column(String(64))
    model: Mapped[str | None]
    sources: Mapped[int]
    prompt_tokens: Mapped[int]
    cached_tokens: Mapped[int]
    completion_tokens: Mapped[int]
    degraded: Mapped[list[str]]
    timings: Mapped[dict[str, Any]]


class DailyUsage(TenantOwned):
    """What one user asked with one key on one day of UTC (see daily_usage.py). `day` is written as YYYY-MM-DD. `failed`
    and `cancelled` are among `questions`."""

    __tablename__ = "daily_usage"

    tenant_id: Mapped[str] = mapped_column(String(64), ForeignKey("tenants.id"), primary_key=True)
    day: Mapped[str] = mapped_column(String(10), primary_key=True)
    key_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    user: Mapped[str] = mapped_column("user_id", String(256), primary_key=True)
    questions: Mapped[int] = mapped_column(BigInteger)
    failed: Mapped[int] = mapped_column(BigInteger)
    cancelled: Mapped[int] = mapped_column(BigInteger)
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    cached_tokens: Mapped[int] = mapped_column(BigInteger)
    completion_tokens: Mapped[int] = mapped_column(BigInteger)
