"""What SQLite does for the statements of a call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import event

from serve_app.storage.database import Database


@dataclass(slots=True)
class Recorded:
    """Statements with their parameters, in their order."""

    database: Database
    statements: list[tuple[str, Any]] = field(default_factory=list)

    async def plans(self) -> list[str]:
        """The steps of SQLite's plan for each SELECT."""
        plans: list[str] = []
        async with self.database.session() as session:
            connection = await session.connection()
            for statement, parameters in self.statements:
                if statement.startswith("SELECT"):
                    plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                    plans += [row.detail for row in plan]
        return plans


@contextmanager
def recorded(database: Database) -> Iterator[Recorded]:
    """The statements that the block runs on the database."""
    found = Recorded(database)
    engine = database._engine().sync_engine

    def record(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        found.statements.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", record)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", record)
