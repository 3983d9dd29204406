"""Documents say what was left out of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    for table in ("documents", "job_documents", "refilled_documents"):
        with op.batch_alter_table(table) as old:
            old.add_column(sa.Column("warnings", sa.JSON(), nullable=False, server_default="[]"))
        with op.batch_alter_table(table) as old:
            old.alter_column("warnings", server_default=None)
