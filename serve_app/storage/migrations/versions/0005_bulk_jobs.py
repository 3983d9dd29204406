"""Jobs that were asked for in bulk."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    with op.batch_alter_table("jobs") as old:
        old.add_column(sa.Column("bulk", sa.String(length=16), nullable=True))
        old.add_column(sa.Column("bulk_until", sa.DateTime(timezone=True), nullable=True))
        old.add_column(sa.Column("bulk_detail", sa.Text(), nullable=False, server_default=""))
    with op.batch_alter_table("jobs") as old:
        old.alter_column("bulk_detail", server_default=None)
    op.create_index("ix_jobs_bulk", "jobs", ["bulk"])
