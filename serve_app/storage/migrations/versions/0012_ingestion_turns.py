"""Tenants take turns in the indexing of their documents. A claim reads the front of their queues by an index."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

_INDEXES = ("ix_job_documents_state_sequence", "ix_job_documents_job_id_state")


def upgrade() -> None:
    op.create_table(
        "ingestion_turns",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("lane", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("turn", sa.Double(), nullable=False),
        sa.Column("due", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_ingestion_turns_tenant_id"),
        sa.PrimaryKeyConstraint("tenant_id", "lane", name="pk_ingestion_turns"),
    )
    op.create_index("ix_ingestion_turns_lane_turn", "ingestion_turns", ["lane", "turn"])
    op.create_index(
        "ix_ingestion_turns_waiting",
        "ingestion_turns",
        ["lane", "turn", "tenant_id"],
        sqlite_where=sa.text("due IS NOT NULL"),
        postgresql_where=sa.text("due IS NOT NULL"),
    )
    for index in _INDEXES:
        op.drop_index(index, "job_documents")
    op.add_column("job_documents", sa.Column("lane", sa.Integer(), nullable=False, server_default="0"))
    op.create_index(
        "ix_job_documents_tenant_id_state_lane_not_before_sequence",
        "job_documents",
        ["tenant_id", "state", "lane", "not_before", "sequence"],
    )
    op.create_index(
        "ix_job_documents_job_id_state_not_before_sequence",
        "job_documents",
        ["job_id", "state", "not_before", "sequence"],
    )
    fill()


def fill() -> None:
    """Put what is unfinished into its lane, and have claims look at its tenants. Idempotent."""
    unfinished = "state IN ('queued', 'parsing', 'embedding')"
    of_ray_job = "job_id IN (SELECT id FROM jobs WHERE bulk IN ('waiting', 'running'))"
    op.execute(
        "UPDATE job_documents SET lane = CASE WHEN generation = '' THEN 0 ELSE 1 END "
        f"+ CASE WHEN {of_ray_job} THEN 2 ELSE 0 END WHERE {unfinished}"
    )
    wake = sa.text(
        "INSERT INTO ingestion_turns (tenant_id, lane, turn, due) "
        f"SELECT DISTINCT tenant_id, lane % 2, 0.0, :now FROM job_documents WHERE {unfinished} "
        "ON CONFLICT (tenant_id, lane) DO UPDATE SET due = excluded.due"
    )
    now = sa.bindparam("now", datetime.now(UTC), type_=sa.DateTime(timezone=True))
    op.get_bind().execute(wake.bindparams(now))
