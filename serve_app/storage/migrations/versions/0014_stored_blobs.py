"""Each upload in the blob store has a row, and each tenant's documents and bytes are counted."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

_REMOVABLE = sa.text("due IS NOT NULL")


def upgrade() -> None:
    op.create_table(
        "stored_blobs",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=160), nullable=False),
        sa.Column("document_id", sa.String(length=256), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("due", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_stored_blobs_tenant_id"),
        sa.PrimaryKeyConstraint("tenant_id", "key", name="pk_stored_blobs"),
    )
    op.create_table(
        "tenant_usage",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("documents", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_tenant_usage_tenant_id"),
        sa.PrimaryKeyConstraint("tenant_id", name="pk_tenant_usage"),
    )
    _fill()
    op.create_index("ix_stored_blobs_tenant_id_document_id", "stored_blobs", ["tenant_id", "document_id"])
    for name, columns in (
        ("ix_stored_blobs_removable", ["due"]),
        ("ix_stored_blobs_tenant_id_removable", ["tenant_id", "due"]),
    ):
        op.create_index(name, "stored_blobs", columns, sqlite_where=_REMOVABLE, postgresql_where=_REMOVABLE)
    with op.batch_alter_table("unseen_versions") as old:
        old.drop_column("blob")


def _fill() -> None:
    """What documents need stays. What was to be removed is removed, and so are the bytes of cancelled versions, which
    earlier releases left in the store."""
    insert = "INSERT INTO stored_blobs (tenant_id, key, document_id, size, due) "
    unfinished = "state IN ('queued', 'parsing', 'embedding')"
    versions = "SELECT tenant_id, blob, document_id, size, CAST(:due AS {type}) FROM job_documents WHERE {where} "
    kind = "TIMESTAMP WITH TIME ZONE" if op.get_bind().dialect.name == "postgresql" else "TEXT"
    now = sa.bindparam("due", datetime.now(UTC), type_=sa.DateTime(timezone=True))
    kept = "ON CONFLICT DO NOTHING"
    op.execute(f"{insert}SELECT tenant_id, blob, id, size, NULL FROM documents WHERE version <> '' {kept}")
    op.execute(f"{insert}SELECT tenant_id, blob, document_id, size, NULL FROM job_documents WHERE {unfinished} {kept}")
    op.execute(
        f"{insert}SELECT h.tenant_id, h.blob, h.document_id, COALESCE((SELECT MAX(v.size) FROM job_documents v "
        "WHERE v.tenant_id = h.tenant_id AND v.document_id = h.document_id AND v.blob = h.blob), 0), h.due "
        f"FROM unseen_versions h WHERE h.blob <> '' AND h.due IS NOT NULL {kept}"
    )
    cancelled = versions.format(type=kind, where="state = 'cancelled' AND blob <> ''")
    op.get_bind().execute(sa.text(f"{insert}{cancelled}{kept}").bindparams(now))
    op.execute(
        "INSERT INTO tenant_usage (tenant_id, documents, bytes) SELECT id, "
        "(SELECT COUNT(*) FROM documents WHERE documents.tenant_id = tenants.id), "
        "(SELECT COALESCE(SUM(size), 0) FROM stored_blobs WHERE stored_blobs.tenant_id = tenants.id) FROM tenants"
    )
