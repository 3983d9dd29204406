"""The audit log is read by time, page by page."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_index("ix_audit_log_tenant_id_at_sequence", "audit_log", ["tenant_id", "at", "sequence"])
    op.drop_index("ix_audit_log_tenant_id_sequence", "audit_log")
