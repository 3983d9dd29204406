"""Run by Alembic inside `migrations.upgrade`, which hands over the connection and owns its transaction."""

from __future__ import annotations

from alembic import context

from serve_app.storage import tables  # noqa: F401 - they are what the metadata is of
from serve_app.storage.declarative import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=True
)
context.run_migrations()
