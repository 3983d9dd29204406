"""The log of queries says whose key asked, in which request, and what answered. Usage is counted by day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

_COUNTS = ("questions", "failed", "cancelled", "prompt_tokens", "cached_tokens", "completion_tokens")


def upgrade() -> None:
    with op.batch_alter_table("query_log") as old:
        old.add_column(sa.Column("key_id", sa.String(length=64), nullable=False, server_default=""))
        old.add_column(sa.Column("request_id", sa.Text(), nullable=False, server_default=""))
        old.add_column(sa.Column("model", sa.Text(), nullable=True))
        old.add_column(sa.Column("cached_tokens", sa.Integer(), nullable=False, server_default="0"))
        old.add_column(sa.Column("degraded", sa.JSON(), nullable=False, server_default="[]"))
    with op.batch_alter_table("query_log") as old:
        for name in ("key_id", "request_id", "cached_tokens", "degraded"):
            old.alter_column(name, server_default=None)
    op.create_table(
        "daily_usage",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=256), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _COUNTS),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_daily_usage_tenant_id"),
        sa.PrimaryKeyConstraint("tenant_id", "day", "key_id", "user_id", name="pk_daily_usage"),
    )
