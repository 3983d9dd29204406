"""Documents that failed are found by their error and by their job."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"

_HAS_FAILED = sa.text("state = 'failed'")


def upgrade() -> None:
    for name, columns in (
        ("ix_job_documents_failed", ["tenant_id", "sequence"]),
        ("ix_job_documents_failed_by_error", ["tenant_id", "error_code", "sequence"]),
        ("ix_job_documents_failed_by_job", ["job_id", "sequence"]),
    ):
        op.create_index(name, "job_documents", columns, sqlite_where=_HAS_FAILED, postgresql_where=_HAS_FAILED)
