"""Jobs know the trace of the request that made them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    with op.batch_alter_table("jobs") as jobs:
        jobs.add_column(sa.Column("trace", sa.JSON(), nullable=False, server_default="{}"))
    with op.batch_alter_table("jobs") as jobs:
        jobs.alter_column("trace", server_default=None)
