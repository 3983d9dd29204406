"""Documents remember the embedder and the chunking that made their passages."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_COLUMNS = (("embedder", 128), ("chunking", 64))


def upgrade() -> None:
    with op.batch_alter_table("documents") as old:
        for name, length in _COLUMNS:
            old.add_column(sa.Column(name, sa.String(length=length), nullable=False, server_default=""))
    with op.batch_alter_table("documents") as old:
        for name, _ in _COLUMNS:
            old.alter_column(name, server_default=None)
    # The job that made a document's passages knows the embedder. Other metadata (PATCH) is a version without a job, so
    # the document's last job counts.
    op.execute(
        """
        UPDATE documents SET embedder = COALESCE((
            SELECT job_documents.embedder FROM job_documents
            WHERE job_documents.tenant_id = documents.tenant_id AND job_documents.document_id = documents.id
                AND job_documents.state = 'indexed' AND job_documents.embedder <> ''
            ORDER BY job_documents.sequence DESC LIMIT 1
        ), '') WHERE version <> ''
        """
    )
