"""Collections know how many documents and passages they have."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    for name in ("documents", "passages"):
        op.add_column("collections", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
    of_collection = (
        "FROM documents WHERE documents.tenant_id = collections.tenant_id "
        "AND documents.collection = collections.name AND documents.version <> ''"
    )
    op.execute(
        f"UPDATE collections SET documents = (SELECT COUNT(*) {of_collection}), "
        f"passages = (SELECT COALESCE(SUM(documents.passages), 0) {of_collection})"
    )
