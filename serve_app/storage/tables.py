"""The tables. Every row carries its tenant, and `of_tenant` is the one place that confines a query to a tenant."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    DateTime,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, stored and returned as UTC; SQLite itself knows no time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("a naive datetime has no place in the database; pass an aware one")
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value and (value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC))


def utc_now() -> datetime:
    return datetime.now(UTC)


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime, dict[str, Any]: JSON, str: Text, bytes: LargeBinary}  # noqa: RUF012


PLATFORM = "_platform"
"""The row that platform keys, and what is logged of them, belong to: no tenant's id can begin like this."""


class Tenant(Base):
    """`status`: active, suspended (its keys are refused) or deleting. `settings`: see tenancy.Settings."""

    __tablename__ = "tenants"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str]
    status: Mapped[str] = mapped_column(String(16))
    settings: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class TenantOwned(Base):
    """A row that belongs to one tenant."""

    __abstract__ = True

    tenant_id: Mapped[str] = mapped_column(String(64), ForeignKey("tenants.id"))


class ApiKey(TenantOwned):
    """`hash` is the SHA-256 of the whole secret; `prefix` is the part of it that may be shown and logged."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str]
    prefix: Mapped[str] = mapped_column(String(16), index=True)
    hash: Mapped[str] = mapped_column(String(64), unique=True)
    role: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Collection(TenantOwned):
    """`chunk_tokens` and `chunk_overlap` None take the service's own."""

    __tablename__ = "collections"

    tenant_id: Mapped[str] = mapped_column(String(64), ForeignKey("tenants.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    description: Mapped[str] = mapped_column(default="")
    chunk_tokens: Mapped[int | None]
    chunk_overlap: Mapped[int | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class DocumentFields:
    """What is kept of a document and of each of its versions. Every field is declared here and nowhere else.

    `owner` is empty for a document of the whole tenant, `language` None for one whose language is not known yet. `blob`
    is the key of its bytes in the blob store, `size` their number, `content_hash` their SHA-256 in hexadecimal. Callers
    may write `max_characters` into a text that has such a bound.
    """

    content_hash: Mapped[str] = mapped_column(String(64))
    owner: Mapped[str] = mapped_column(String(256), default="", info={"max_characters": 256})
    collection: Mapped[str] = mapped_column(String(64))
    language: Mapped[str | None] = mapped_column(String(8))
    title: Mapped[str] = mapped_column(default="", info={"max_characters": 1_000})
    filename: Mapped[str] = mapped_column(default="", info={"max_characters": 1_000})
    media_type: Mapped[str] = mapped_column(default="", info={"max_characters": 255})
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", default=dict)
    blob: Mapped[str]
    size: Mapped[int] = mapped_column(BigInteger)

    def fields(self) -> dict[str, Any]:
        """Attribute name → value."""
        return {name: getattr(self, name) for name in DocumentFields.__annotations__}

    def columns(self) -> dict[str, Any]:
        """Column name → value, as an INSERT takes them."""
        return {document_column(name).name: value for name, value in self.fields().items()}

    def take_over(self, other: DocumentFields) -> None:
        for name, value in other.fields().items():
            setattr(self, name, value)


def document_column(attribute: str) -> Column[Any]:
    """The column of a document's field."""
    return Document.__mapper__.columns[attribute]


class Document(DocumentFields, TenantOwned):
    """A document as searches see it: its live version, or while none is live the version accepted last.

    `version` is the live one, empty if none is; `fingerprint` tells its content from another's. `terms` holds the live
    version's document frequencies (see lexical_statistics.py); it may be large. `embedder` and `chunking` are those of
    the live version's passages, empty where that is not known.
    """

    __tablename__ = "documents"
    __table_args__ = (ForeignKeyConstraint(["tenant_id", "collection"], ["collections.tenant_id", "collections.name"]),)

    tenant_id: Mapped[str] = mapped_column(String(64), ForeignKey("tenants.id"), primary_key=True)
    id: Mapped[str] = mapped_column(String(256), primary_key=True)
    version: Mapped[str] = mapped_column(String(64), default="")
    fingerprint: Mapped[str] = mapped_column(String(64), default="")
    passages: Mapped[int] = mapped_column(default=0)
    terms: Mapped[bytes] = mapped_column(default=b"")
    embedder: Mapped[str] = mapped_column(String(128), default="")
    chunking: Mapped[str] = mapped_column(String(64), default="")
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Job(TenantOwned):
    """`bulk`: waiting, running or ended (see bulk.py), None for a job that was not asked for in bulk. `bulk_until`: how
    long its Ray Job is believed to be running without a sign of it. `reindex`: filling, switched, given_up or in_place
    (see reindexing.py), None for a job that brings documents; `generation` is the one that it fills, empty for none."""

    __tablename__ = "jobs"
    __table_args__ = (Index(None, "bulk"), Index(None, "reindex"))

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    bulk: Mapped[str | None] = mapped_column(String(16))
    bulk_until: Mapped[datetime | None]
    bulk_detail: Mapped[str] = mapped_column(default="")
    reindex: Mapped[str | None] = mapped_column(String(16))
    generation: Mapped[str] = mapped_column(String(160), default="")
    created_at: Mapped[datetime]


class JobDocument(DocumentFields, TenantOwned):
    """One version of a document on its way through a job, with all that a worker needs of it.

    `version` is empty until a worker first claims it.
    `sequence` is the order of acceptance: versions of one document are worked on in it. `given_up` marks a version
    whose document was deleted, or whose job was cancelled, while a worker had it. `attempts` counts claims, and so
    tells one claim from the next. Of `chunks`, the first `chunks_done` are in the index, in generation `written_to`.
    `generation` is the one that a reindexing fills, empty for a version that is to become live.
    """

    __tablename__ = "job_documents"
    __table_args__ = (
        Index(None, "job_id", "document_id", unique=True),
        Index(None, "tenant_id", "document_id", "state"),
        Index(None, "state", "sequence"),
        Index(None, "job_id", "state"),
    )

    sequence: Mapped[int] = mapped_column(BigInteger().with_variant(Integer(), "sqlite"), primary_key=True)
    job_id: Mapped[str] = mapped_column(String(64), ForeignKey("jobs.id"))
    document_id: Mapped[str] = mapped_column(String(256))
    version: Mapped[str] = mapped_column(String(64))
    fingerprint: Mapped[str] = mapped_column(String(64))
    chunk_tokens: Mapped[int | None]
    chunk_overlap: Mapped[int | None]
    state: Mapped[str] = mapped_column(String(16))
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_detail: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(default=0)
    worker: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    not_before: Mapped[datetime]
    given_up: Mapped[bool] = mapped_column(default=False)
    generation: Mapped[str] = mapped_column(String(160), default="")
    written_to: Mapped[str] = mapped_column(String(160), default="")
    chunks: Mapped[int] = mapped_column(default=0)
    chunks_done: Mapped[int] = mapped_column(default=0)
    updated_at: Mapped[datetime]


class VersionCounter(TenantOwned):
    """How many versions of documents a tenant's workers have begun to write."""

    __tablename__ = "version_counters"

    tenant_id: Mapped[str] = mapped_column(String(64), ForeignKey("tenants.id"), primary_key=True)
    last: Mapped[int] = mapped_column(BigInteger)


class HiddenVersion(TenantOwned):
    """A version that searches must not find (see visibility.py). `due`: when its passages may be removed, None while
    they are being written."""

    __tablename__ = "unseen_versions"
    __table_args__ = (Index(None, "due"),)

    tenant_id: Mapped[str] = mapped_column(String(64), ForeignKey("tenants.id"), primary_key=True)
    version: Mapped[str] = mapped_column(String(64), primary_key=True)
    document_id: Mapped[str] = mapped_column(String(256))
    blob: Mapped[str]
    due: Mapped[datetime | None]


class StoredGeneration(TenantOwned):
    """A filling of the index for a tenant (see generations.py). `state`: live, filling or retired; `due`: when a
    retired one's passages may be removed. `embedder` is a fingerprint, `dimension` 0 where it is not known."""

    __tablename__ = "index_generations"
    __table_args__ = (Index(None, "state", "due"),)

    tenant_id: Mapped[str] = mapped_column(String(64), ForeignKey("tenants.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(160), primary_key=True)
    embedder: Mapped[str] = mapped_column(String(128))
    dimension: Mapped[int]
    state: Mapped[str] = mapped_column(String(16))
    due: Mapped[datetime | None]


class RefilledDocument(TenantOwned):
    """What is to be told of a document once the generation that it was written to again is live."""

    __tablename__ = "refilled_documents"

    tenant_id: Mapped[str] = mapped_column(String(64), ForeignKey("tenants.id"), primary_key=True)
    generation: Mapped[str] = mapped_column(String(160), primary_key=True)
    document_id: Mapped[str] = mapped_column(String(256), primary_key=True)
    version: Mapped[str] = mapped_column(String(64))
    passages: Mapped[int]
    terms: Mapped[bytes]
    chunking: Mapped[str] = mapped_column(String(64))


class WebhookDelivery(TenantOwned):
    """A message that a job has ended (see webhooks.py).

    `due`: when something is next to be done about it: looked at, sent, taken from a sender that is gone, or forgotten.
    `attempts` counts the tries, and so tells one claim from the next; `problem` is what went wrong at the last one.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (Index(None, "state", "due"), Index(None, "tenant_id", "state", "due"))

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    job_id: Mapped[str] = mapped_column(String(64), ForeignKey("jobs.id"), unique=True)
    state: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int] = mapped_column(default=0)
    due: Mapped[datetime]
    problem: Mapped[str | None]


class LexicalTerm(TenantOwned):
    """How many live passages of a tenant's owner hold a term."""

    __tablename__ = "lexical_terms"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012

    tenant_id: Mapped[str] = mapped_column(String(64), ForeignKey("tenants.id"), primary_key=True)
    owner: Mapped[str] = mapped_column(String(256), primary_key=True)
    term_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    passages: Mapped[int] = mapped_column(BigInteger)


class LexicalTotal(TenantOwned):
    """How many live passages a tenant's owner has."""

    __tablename__ = "lexical_totals"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012

    tenant_id: Mapped[str] = mapped_column(String(64), ForeignKey("tenants.id"), primary_key=True)
    owner: Mapped[str] = mapped_column(String(256), primary_key=True)
    passages: Mapped[int] = mapped_column(BigInteger)


class AuditEntry(TenantOwned):
    """Who did what, append-only. `actor` is a key's id; `subject` names what was acted on. No content."""

    __tablename__ = "audit_log"
    __table_args__ = (Index(None, "tenant_id", "sequence"),)

    sequence: Mapped[int] = mapped_column(BigInteger().with_variant(Integer(), "sqlite"), primary_key=True)
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(64))
    role: Mapped[str] = mapped_column(String(16))
    request_id: Mapped[str] = mapped_column(String(128))
    action: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(String(256))
    details: Mapped[dict[str, Any]]


class QueryLogEntry(TenantOwned):
    """What an answered query took. Neither the question nor the answer."""

    __tablename__ = "query_log"
    __table_args__ = (Index(None, "tenant_id", "at"),)

    query_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    at: Mapped[datetime]
    user: Mapped[str] = mapped_column("user_id", String(256))
    language: Mapped[str] = mapped_column(String(8))
    outcome: Mapped[str] = mapped_column(String(64))
    engine: Mapped[str | None] = mapped_column(String(64))
    sources: Mapped[int]
    prompt_tokens: Mapped[int]
    completion_tokens: Mapped[int]
    timings: Mapped[dict[str, Any]]


class IdempotentRequest(TenantOwned):
    """The answer to a request that carried an Idempotency-Key; `status` 0 while the first one is being worked on."""

    __tablename__ = "idempotent_requests"
    __table_args__ = (Index(None, "created_at"),)

    tenant_id: Mapped[str] = mapped_column(String(64), ForeignKey("tenants.id"), primary_key=True)
    key: Mapped[str] = mapped_column(String(256), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    status: Mapped[int] = mapped_column(default=0)
    headers: Mapped[dict[str, Any]]
    body: Mapped[bytes] = mapped_column(default=b"")
    created_at: Mapped[datetime]
    lease_until: Mapped[datetime]


def of_tenant(model: type[TenantOwned], tenant_id: str) -> ColumnElement[bool]:
    """The condition that confines a query to a tenant's rows.

    Only two kinds of queries do without it. Some come before a tenant is known: a key's. Others serve all tenants: a
    worker's claim, and the removal of replaced versions.
    """
    if not tenant_id:
        raise ValueError("tenant_id is empty")
    return model.tenant_id == tenant_id
