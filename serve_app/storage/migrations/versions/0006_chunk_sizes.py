"""Collections with chunk sizes of their own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    for table in ("collections", "job_documents"):
        with op.batch_alter_table(table) as old:
            old.add_column(sa.Column("chunk_tokens", sa.Integer(), nullable=True))
            old.add_column(sa.Column("chunk_overlap", sa.Integer(), nullable=True))
