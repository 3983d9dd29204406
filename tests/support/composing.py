"""The migration that composes names, run on a database of the present schema that holds names in NFD."""

from __future__ import annotations

import unicodedata

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from serve_app.storage.database import Database, create_engine
from serve_app.storage.migrations import configuration


def decomposed(text: str) -> str:
    return unicodedata.normalize("NFD", text)


async def compose_names(database: Database) -> None:
    scripts = ScriptDirectory.from_config(configuration())

    def upgrade(connection: Connection) -> None:
        with Operations.context(MigrationContext.configure(connection)) as operations:
            # A column that came later, and that the migration leaves out.
            with operations.batch_alter_table("jobs") as jobs:
                jobs.alter_column("trace", server_default="{}")
            scripts.get_revision("0010").module.upgrade()
            scripts.get_revision("0012").module.fill()  # the documents that 0010 queued

    engine = create_engine(database.config, migrating=True)
    async with engine.connect() as connection:
        await connection.execution_options(sqlite_begin="IMMEDIATE")  # as for any migration
        async with connection.begin():
            await connection.run_sync(upgrade)
    await engine.dispose()
