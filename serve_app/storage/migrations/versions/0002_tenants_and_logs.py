"""Tenants' status and settings, collections' descriptions, sizes, the audit and query logs, idempotent requests."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_INTO_OLD_ROWS: dict[str, list[sa.Column[Any]]] = {
    "tenants": [
        sa.Column("status", sa.String(length=16), nullable=False, server_default="active"),
        sa.Column("settings", sa.JSON(), nullable=False, server_default="{}"),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False, server_default="2026-11-24 00:00:00+00:00"),
    ],
    "collections": [
        sa.Column("description", sa.Text(), nullable=False, server_default=""),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False, server_default="2026-11-24 00:00:00+00:00"),
    ],
    "documents": [sa.Column("size", sa.BigInteger(), nullable=False, server_default="0")],
    "job_documents": [sa.Column("size", sa.BigInteger(), nullable=False, server_default="0")],
}


def upgrade() -> None:
    for table, columns in _INTO_OLD_ROWS.items():
        with op.batch_alter_table(table) as old:
            for column in columns:
                old.add_column(column)
        with op.batch_alter_table(table) as old:
            for column in columns:
                old.alter_column(column.name, server_default=None)
    op.create_table(
        "audit_log",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("request_id", sa.String(length=128), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=256), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_audit_log_tenant_id"),
        sa.PrimaryKeyConstraint("sequence", name="pk_audit_log"),
    )
    op.create_index("ix_audit_log_tenant_id_sequence", "audit_log", ["tenant_id", "sequence"])
    op.create_table(
        "query_log",
        sa.Column("query_id", sa.String(length=64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("user_id", sa.String(length=256), nullable=False),
        sa.Column("language", sa.String(length=8), nullable=False),
        sa.Column("outcome", sa.String(length=64), nullable=False),
        sa.Column("engine", sa.String(length=64), nullable=True),
        sa.Column("sources", sa.Integer(), nullable=False),
        sa.Column("prompt_tokens", sa.Integer(), nullable=False),
        sa.Column("completion_tokens", sa.Integer(), nullable=False),
        sa.Column("timings", sa.JSON(), nullable=False),
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_query_log_tenant_id"),
        sa.PrimaryKeyConstraint("query_id", name="pk_query_log"),
    )
    op.create_index("ix_query_log_tenant_id_at", "query_log", ["tenant_id", "at"])
    op.create_table(
        "idempotent_requests",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=256), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("headers", sa.JSON(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_idempotent_requests_tenant_id"),
        sa.PrimaryKeyConstraint("tenant_id", "key", name="pk_idempotent_requests"),
    )
    op.create_index("ix_idempotent_requests_created_at", "idempotent_requests", ["created_at"])
    # The row that platform keys belong to.
    op.execute(
        "INSERT INTO tenants (id, name, status, settings, created_at, updated_at) VALUES "
        "('_platform', 'the platform', 'active', '{}', '2026-11-24 00:00:00+00:00', '2026-11-24 00:00:00+00:00')"
    )
