"""Generations of the index, and the jobs that fill them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "index_generations",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=160), nullable=False),
        sa.Column("embedder", sa.String(length=128), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("due", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_index_generations_tenant_id"),
        sa.PrimaryKeyConstraint("tenant_id", "name", name="pk_index_generations"),
    )
    op.create_index("ix_index_generations_state_due", "index_generations", ["state", "due"])
    op.create_table(
        "refilled_documents",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("generation", sa.String(length=160), nullable=False),
        sa.Column("document_id", sa.String(length=256), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("passages", sa.Integer(), nullable=False),
        sa.Column("terms", sa.LargeBinary(), nullable=False),
        sa.Column("chunking", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_refilled_documents_tenant_id"),
        sa.PrimaryKeyConstraint("tenant_id", "generation", "document_id", name="pk_refilled_documents"),
    )
    with op.batch_alter_table("jobs") as old:
        old.add_column(sa.Column("reindex", sa.String(length=16), nullable=True))
        old.add_column(sa.Column("generation", sa.String(length=160), nullable=False, server_default=""))
    with op.batch_alter_table("jobs") as old:
        old.alter_column("generation", server_default=None)
    op.create_index("ix_jobs_reindex", "jobs", ["reindex"])
    with op.batch_alter_table("job_documents") as old:
        old.alter_column(
            "embedder",
            new_column_name="written_to",
            existing_type=sa.String(length=128),
            type_=sa.String(length=160),
            existing_nullable=False,
        )
        old.add_column(sa.Column("generation", sa.String(length=160), nullable=False, server_default=""))
    with op.batch_alter_table("job_documents") as old:
        old.alter_column("generation", server_default=None)
    # A tenant whose documents are of several embedders keeps the one of most passages. The others' documents were not
    # found either as long as that embedder ran; they are behind, and a reindexing brings them back.
    op.execute(
        """
        INSERT INTO index_generations (tenant_id, name, embedder, dimension, state)
        SELECT tenant_id, embedder, embedder, 0, 'live' FROM (
            SELECT tenant_id, embedder, ROW_NUMBER() OVER (
                PARTITION BY tenant_id ORDER BY SUM(passages) DESC, embedder
            ) AS place
            FROM documents WHERE version <> '' AND embedder <> '' GROUP BY tenant_id, embedder
        ) AS ranked WHERE place = 1
        """
    )
