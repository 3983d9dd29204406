"""Jobs whose documents failed or were cancelled are found in their order, and those of a tenant that reindex."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"

_ENDED_BADLY = sa.text("state IN ('failed', 'cancelled')")
_REINDEXES = sa.text("reindex IS NOT NULL")


def upgrade() -> None:
    op.add_column("job_documents", sa.Column("job_created_at", sa.DateTime(timezone=True), nullable=True))
    op.execute(  # those that are indexed end no other way
        "UPDATE job_documents SET job_created_at = (SELECT created_at FROM jobs WHERE jobs.id = job_documents.job_id) "
        "WHERE state <> 'indexed'"
    )
    op.create_index(
        "ix_job_documents_ended_badly",
        "job_documents",
        ["tenant_id", "state", "job_created_at", "job_id"],
        sqlite_where=_ENDED_BADLY,
        postgresql_where=_ENDED_BADLY,
    )
    op.create_index(
        "ix_jobs_tenant_id_reindexes",
        "jobs",
        ["tenant_id", "created_at", "id"],
        sqlite_where=_REINDEXES,
        postgresql_where=_REINDEXES,
    )
