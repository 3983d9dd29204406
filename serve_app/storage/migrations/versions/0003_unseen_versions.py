"""Versions that searches must not find, what a document's content is, how far its indexing has come."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "unseen_versions",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("document_id", sa.String(length=256), nullable=False),
        sa.Column("blob", sa.Text(), nullable=False),
        sa.Column("due", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_unseen_versions_tenant_id"),
        sa.PrimaryKeyConstraint("tenant_id", "version", name="pk_unseen_versions"),
    )
    op.create_index("ix_unseen_versions_due", "unseen_versions", ["due"])
    op.create_table(
        "version_counters",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_version_counters_tenant_id"),
        sa.PrimaryKeyConstraint("tenant_id", name="pk_version_counters"),
    )
    for table in ("documents", "job_documents"):
        with op.batch_alter_table(table) as old:
            old.add_column(sa.Column("fingerprint", sa.String(length=64), nullable=False, server_default=""))
        # Until now a version was named by its content alone.
        op.execute(f"UPDATE {table} SET fingerprint = version")
        with op.batch_alter_table(table) as old:
            old.alter_column("fingerprint", server_default=None)
    with op.batch_alter_table("job_documents") as old:
        old.alter_column("deleted", new_column_name="given_up", existing_type=sa.Boolean(), existing_nullable=False)
        old.add_column(sa.Column("embedder", sa.String(length=128), nullable=False, server_default=""))
        old.add_column(sa.Column("chunks", sa.Integer(), nullable=False, server_default="0"))
        old.add_column(sa.Column("chunks_done", sa.Integer(), nullable=False, server_default="0"))
    with op.batch_alter_table("job_documents") as old:
        for name in ("embedder", "chunks", "chunks_done"):
            old.alter_column(name, server_default=None)
