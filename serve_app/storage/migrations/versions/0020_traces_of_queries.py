"""The log of queries names the trace of each."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    with op.batch_alter_table("query_log") as old:
        old.add_column(sa.Column("trace_id", sa.String(length=32), nullable=False, server_default=""))
    with op.batch_alter_table("query_log") as old:
        old.alter_column("trace_id", server_default=None)
