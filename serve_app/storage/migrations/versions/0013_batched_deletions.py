"""Collections that are being deleted, and indexes for what is looked for within one tenant."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

_UNFINISHED = sa.text("state IN ('queued', 'parsing', 'embedding')")


def upgrade() -> None:
    with op.batch_alter_table("collections") as old:
        old.add_column(sa.Column("deleting_since", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_api_keys_tenant_id", "api_keys", ["tenant_id"])
    op.create_index("ix_documents_tenant_id_collection_id", "documents", ["tenant_id", "collection", "id"])
    op.create_index("ix_documents_tenant_id_owner_id", "documents", ["tenant_id", "owner", "id"])
    op.create_index("ix_jobs_tenant_id_created_at_id", "jobs", ["tenant_id", "created_at", "id"])
    op.create_index(
        "ix_job_documents_tenant_id_collection",
        "job_documents",
        ["tenant_id", "collection"],
        sqlite_where=_UNFINISHED,
        postgresql_where=_UNFINISHED,
    )
