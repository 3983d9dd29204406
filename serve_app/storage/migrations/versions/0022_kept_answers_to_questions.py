"""Answers to questions that are kept for an Idempotency-Key have a size, so that those of a tenant are bounded."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    with op.batch_alter_table("idempotent_requests") as requests:
        requests.add_column(sa.Column("size", sa.Integer(), nullable=False, server_default="0"))
    op.create_index(
        "ix_idempotent_requests_questions",
        "idempotent_requests",
        ["tenant_id", "created_at", "size"],
        sqlite_where=sa.text("size > 0"),
        postgresql_where=sa.text("size > 0"),
    )
