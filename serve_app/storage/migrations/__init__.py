"""The schema's history, run by Alembic."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection


class SchemaTooNew(RuntimeError):
    """The database was migrated by a later release of this code."""


def upgrade(connection: Connection) -> None:
    """Run every migration that the connection's database has not seen, inside its transaction. Raises SchemaTooNew."""
    config = configuration()
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    for revision in MigrationContext.configure(connection).get_current_heads():
        if revision not in known:
            raise SchemaTooNew(
                f"the database {connection.engine.url.render_as_string()} is at revision {revision}, which this "
                "release does not know; run the release that migrated it, or a later one"
            )
    command.upgrade(config, "head")


def configuration() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config
