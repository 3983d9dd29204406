"""The tables. Every row carries its tenant."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    String,
    literal_column,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from deployments.ingestion.base import DocumentState
from serve_app.storage import log_tables  # noqa: F401 - one import brings all tables
from serve_app.storage.declarative import Base, TenantOwned, partial_index


class Tenant(Base):
    """`status`: active, suspended (its keys are refused) or deleting. `settings`: see tenancy.Settings."""

    __tablename__ = "tenants"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str]
    status: Mapped[str] = mapped_column(String(16))
    settings: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class ApiKey(TenantOwned):
    """`hash` is the SHA-256 of the whole secret; `prefix` is the part of it that may be shown and logged.
    `last_used_at` may be a minute old (see key_uses.py)."""

    __tablename__ = "api_keys"
    __table_args__ = (Index(None, "tenant_id"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str]
    prefix: Mapped[str] = mapped_column(String(16), index=True)
    hash: Mapped[str] = mapped_column(String(64), unique=True)
    role: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class Collection(TenantOwned):
    """`chunk_tokens` and `chunk_overlap` None take the service's own. `documents` counts those that are live, and
    `passages` theirs; both change with the documents. `deleting_since`: when its deletion was begun or last went on,
    None unless it is being deleted."""

    __tablename__ = "collections"

    tenant_id: Mapped[str] = mapped_column(String(64), ForeignKey("tenants.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    description: Mapped[str] = mapped_column(default="")
    chunk_tokens: Mapped[int | None]
    chunk_overlap: Mapped[int | None]
    documents: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    passages: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    deleting_since: Mapped[datetime | None]


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
    the live version's passages, empty where that is not known. `warnings` say what was left out of them.
    """

    __tablename__ = "documents"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "collection"], ["collections.tenant_id", "collections.name"]),
        Index(None, "tenant_id", "collection", "id"),
        Index(None, "tenant_id", "owner", "id"),
    )

    tenant_id: Mapped[str] = mapped_column(String(64), ForeignKey("tenants.id"), primary_key=True)
    id: Mapped[str] = mapped_column(String(256), primary_key=True)
    version: Mapped[str] = mapped_column(String(64), default="")
    fingerprint: Mapped[str] = mapped_column(String(64), default="")
    passages: Mapped[int] = mapped_column(default=0)
    terms: Mapped[bytes] = mapped_column(default=b"")
    embedder: Mapped[str] = mapped_column(String(128), default="")
    chunking: Mapped[str] = mapped_column(String(64), default="")
    warnings: Mapped[list[str]] = mapped_column(default=list)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Job(TenantOwned):
    """`bulk`: waiting, running or ended (see bulk.py), None for a job that was not asked for in bulk. `bulk_until`: how
    long its Ray Job is believed to be running without a sign of it. `reindex`: filling, switched, given_up or in_place
    (see reindexing.py), None for a job that brings documents; `generation` is the one that it fills, empty for none.
    `trace`: the headers of the request that made it, sampled or not; empty if no request did."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index(None, "bulk"),
        Index(None, "reindex"),
        Index(None, "tenant_id", "created_at", "id"),
        partial_index(
            "ix_jobs_tenant_id_reindexes", "tenant_id", "created_at", "id", where=text("reindex IS NOT NULL")
        ),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    bulk: Mapped[str | None] = mapped_column(String(16))
    bulk_until: Mapped[datetime | None]
    bulk_detail: Mapped[str] = mapped_column(default="")
    reindex: Mapped[str | None] = mapped_column(String(16))
    generation: Mapped[str] = mapped_column(String(160), default="")
    trace: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime]


UNFINISHED_STATES: Final[tuple[DocumentState, ...]] = ("queued", "parsing", "embedding")
"""The states of documents that wait or that a worker has claimed. All other states are final."""
BAD_ENDS: Final[tuple[DocumentState, ...]] = ("failed", "cancelled")
"""The final states of documents that were not indexed."""
_ENDED_BADLY = text("state IN ({})".format(", ".join(f"'{state}'" for state in BAD_ENDS)))
_HAS_FAILED = text("state = 'failed'")
_IS_UNFINISHED = text("state IN ({})".format(", ".join(f"'{state}'" for state in UNFINISHED_STATES)))


class JobDocument(DocumentFields, TenantOwned):
    """One version of a document on its way through a job, with all that a worker needs of it.

    `version` is empty until a worker first claims it. `job_created_at` is the job's `created_at`, by which an index
    finds the newest jobs with documents that failed; None for documents of a former release that were indexed.
    `sequence` is the order of acceptance: versions of one document are worked on in it. `lane` says which claims may
    take it, and which of them first (see turns.py). `given_up` marks a version whose document was deleted, or whose job
    was cancelled, while a worker had it. `attempts` counts claims, and so tells one claim from the next. Of `chunks`,
    the first `chunks_done` are in the index, in generation `written_to`. `generation` is the one that a reindexing
    fills, empty for a version that is to become live. `warnings` are known once it is indexed.
    """

    __tablename__ = "job_documents"
    __table_args__ = (
        Index(None, "job_id", "document_id", unique=True),
        Index(None, "tenant_id", "document_id", "state"),
        Index(None, "tenant_id", "state", "lane", "not_before", "sequence"),
        Index(None, "job_id", "state", "not_before", "sequence"),
        partial_index(None, "tenant_id", "collection", where=_IS_UNFINISHED),
        partial_index(
            "ix_job_documents_ended_badly", "tenant_id", "state", "job_created_at", "job_id", where=_ENDED_BADLY
        ),
        *(
            partial_index(f"ix_job_documents_failed{by}", *columns, where=_HAS_FAILED)
            for by, columns in (
                ("", ("tenant_id", "sequence")),
                ("_by_error", ("tenant_id", "error_code", "sequence")),
                ("_by_job", ("job_id", "sequence")),
            )
        ),
    )

    sequence: Mapped[int] = mapped_column(BigInteger().with_variant(Integer(), "sqlite"), primary_key=True)
    job_id: Mapped[str] = mapped_column(String(64), ForeignKey("jobs.id"))
    job_created_at: Mapped[datetime | None]
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
    lane: Mapped[int] = mapped_column(default=0, server_default="0")
    given_up: Mapped[bool] = mapped_column(default=False)
    generation: Mapped[str] = mapped_column(String(160), default="")
    written_to: Mapped[str] = mapped_column(String(160), default="")
    chunks: Mapped[int] = mapped_column(default=0)
    chunks_done: Mapped[int] = mapped_column(default=0)
    warnings: Mapped[list[str]] = mapped_column(default=list)
    updated_at: Mapped[datetime]


class IngestionTurn(TenantOwned):
    """Whose documents are indexed next (see turns.py). `turn`: units of work that were begun, over the tenant's weight.
    `due`: when a claim is to look for documents of this lane, None while none waits."""

    __tablename__ = "ingestion_turns"
    __table_args__ = (
        Index(None, "lane", "turn"),
        partial_index("ix_ingestion_turns_waiting", "lane", "turn", "tenant_id", where=text("due IS NOT NULL")),
    )

    tenant_id: Mapped[str] = mapped_column(String(64), ForeignKey("tenants.id"), primary_key=True)
    lane: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    turn: Mapped[float] = mapped_column(Double)
    due: Mapped[datetime | None]


class VersionCounter(TenantOwned):
    """How many versions of documents a tenant's workers have begun to write."""

    __tablename__ = "version_counters"

    tenant_id: Mapped[str] = mapped_column(String(64), ForeignKey("tenants.id"), primary_key=True)
    last: Mapped[int] = mapped_column(BigInteger)


class HiddenVersion(TenantOwned):
    """A version that searches must not find (see visibility.py). `due`: when its passages may be removed, None while
    they are being written.

    A search gets all of a tenant's as `VisibleVersions.hidden`. A worker gets those that are due as RemovedVersion.
    """

    __tablename__ = "unseen_versions"  # the name that deployed databases have
    __table_args__ = (Index(None, "due"),)

    tenant_id: Mapped[str] = mapped_column(String(64), ForeignKey("tenants.id"), primary_key=True)
    version: Mapped[str] = mapped_column(String(64), primary_key=True)
    document_id: Mapped[str] = mapped_column(String(256))
    due: Mapped[datetime | None]


class StoredBlob(TenantOwned):
    """Bytes that are in the blob store, are being written there, or are to be removed (see stored_blobs.py).

    `document_id` is empty until the bytes are those of a document's version. `due`: when they are removed, None while a
    document needs them.
    """

    __tablename__ = "stored_blobs"
    __table_args__ = (
        Index(None, "tenant_id", "document_id"),
        partial_index("ix_stored_blobs_removable", "due", where=text("due IS NOT NULL")),
        partial_index("ix_stored_blobs_tenant_id_removable", "tenant_id", "due", where=text("due IS NOT NULL")),
    )

    tenant_id: Mapped[str] = mapped_column(String(64), ForeignKey("tenants.id"), primary_key=True)
    key: Mapped[str] = mapped_column(String(160), primary_key=True)
    document_id: Mapped[str] = mapped_column(String(256), default="")
    size: Mapped[int] = mapped_column(BigInteger)
    due: Mapped[datetime | None]


class TenantUsage(TenantOwned):
    """How many documents a tenant has, and bytes in the blob store: changed with what is counted (see usage.py)."""

    __tablename__ = "tenant_usage"

    tenant_id: Mapped[str] = mapped_column(String(64), ForeignKey("tenants.id"), primary_key=True)
    documents: Mapped[int] = mapped_column(BigInteger, default=0)
    bytes: Mapped[int] = mapped_column(BigInteger, default=0)


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
    warnings: Mapped[list[str]] = mapped_column(default=list)


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


class Sweep(Base):
    """A round of long work on all tenants (see sweeps.py). `cursor`: the last tenant that is done, None between rounds.
    `removed` counts what went in the round that goes on, or in the last one."""

    __tablename__ = "sweeps"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    holder: Mapped[str] = mapped_column(String(64))
    lease_until: Mapped[datetime | None]
    cursor: Mapped[str | None] = mapped_column(String(64))
    began_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    removed: Mapped[dict[str, Any]]


class IdempotentRequest(TenantOwned):
    """The answer to a request that carried an Idempotency-Key; `status` 0 while the first one is being worked on.

    `size`: of an answer to a question, its bytes. Otherwise 0: such an answer is small, and is kept its whole time.
    """

    __tablename__ = "idempotent_requests"
    __table_args__ = (
        Index(None, "created_at"),
        partial_index("ix_idempotent_requests_questions", "tenant_id", "created_at", "size", where=text("size > 0")),
    )

    tenant_id: Mapped[str] = mapped_column(String(64), ForeignKey("tenants.id"), primary_key=True)
    key: Mapped[str] = mapped_column(String(256), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    status: Mapped[int] = mapped_column(default=0)
    headers: Mapped[dict[str, Any]]
    body: Mapped[bytes] = mapped_column(default=b"")
    size: Mapped[int] = mapped_column(default=0, server_default="0")
    created_at: Mapped[datetime]
    lease_until: Mapped[datetime]


def is_unfinished() -> ColumnElement[bool]:
    """The condition on versions that wait or are being worked on, as the index of these has it."""
    return JobDocument.state.in_([literal_column(f"'{state}'") for state in UNFINISHED_STATES])


def has_failed() -> ColumnElement[bool]:
    """The condition on versions that failed, as the indexes of these have it."""
    return JobDocument.state == literal_column("'failed'")


def ended_badly() -> ColumnElement[bool]:
    """The condition on versions that failed or were cancelled, as the index of these has it."""
    return JobDocument.state.in_([literal_column(f"'{state}'") for state in BAD_ENDS])
