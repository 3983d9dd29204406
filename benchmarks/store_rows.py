"""Rows for the store's benchmark: many tenants, one of them large, made by a few statements of the database's own.

A tenant's documents come in jobs of ten. In each tenth job all documents wait, and in all others they are indexed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncConnection

from serve_app.platform import lexical_statistics
from serve_app.storage.config import StoreConfig
from serve_app.storage.database import create_engine

LARGE: Final = "t0"
"""The tenant that has many documents."""
FOLDER: Final = "folder"
"""The large tenant's collection that is deleted as a whole."""
_JOB: Final = 10
"""Documents of one job."""
_COLLECTIONS: Final = 10
"""Collections of a tenant, beside `FOLDER`."""
_TERMS: Final = 100
"""Terms of one document."""
_VOCABULARY: Final = 16
"""Sets of terms among the large tenant's documents. All documents of another tenant have one set."""
_BATCH: Final = 100_000
"""Documents that one statement makes."""


@dataclass(frozen=True, slots=True)
class Size:
    """`documents` of all tenants; `large` those of the large tenant, of which `folder` are in the collection FOLDER."""

    documents: int
    tenants: int
    large: int
    folder: int

    def documents_of(self, tenant: int) -> int:
        """Documents of a tenant by its number; of tenants other than the large one at least so many."""
        return self.large if tenant == 0 else (self.documents - self.large) // (self.tenants - 1)

    def waiting_of_large(self) -> int:
        """Documents of the large tenant that wait to be indexed."""
        return self.large // 10


async def fill(store: StoreConfig, size: Size) -> None:
    """Add the rows to a migrated database without tenants, and let it learn how they are distributed."""
    engine = create_engine(store, migrating=True)
    if store.embedded:
        event.listen(engine.sync_engine, "connect", _write_faster)
    try:
        async with engine.connect() as connection:
            for statement, values in _statements(store.embedded, size):
                async with connection.begin():
                    await _run(connection, statement, values)
        async with engine.connect() as connection:
            if not store.embedded:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
            await _run(connection, "ANALYZE" if store.embedded else "VACUUM ANALYZE", {})
    finally:
        await engine.dispose()


def _write_faster(connection: Any, record: Any) -> None:
    """Keep pages in memory, and do not wait for the disk: rows that a crash would lose are made again."""
    for setting in ("cache_size = -1000000", "synchronous = OFF"):
        connection.execute(f"PRAGMA {setting}").close()


async def _run(connection: AsyncConnection, statement: str, values: dict[str, Any]) -> None:
    used = {name: value for name, value in values.items() if re.search(rf":{name}\b", statement)}
    await connection.execute(text(statement), used)


def _statements(embedded: bool, size: Size) -> list[tuple[str, dict[str, Any]]]:
    sql = _Sqlite() if embedded else _PostgreSql()
    values: dict[str, Any] = {
        "settings": '{"quotas": {"documents": 100000000, "bytes": 1000000000000}}',
        "metadata": '{"kind": "act", "year": 2024}',
        "hash": "0" * 64,
    }
    values |= {f"terms{number}": lexical_statistics.pack(_terms(number)) for number in range(_VOCABULARY)}
    small = size.tenants - 1
    tenant = f"'t' || CASE WHEN n < {size.large} THEN 0 ELSE 1 + (n - {size.large}) % {small} END"
    ordinal = f"CASE WHEN n < {size.large} THEN n ELSE (n - {size.large}) / {small} END"
    numbers = f"(SELECT n, {tenant} AS tenant, {ordinal} AS k FROM ({{source}}) AS numbers) AS rows"
    statements = [
        "INSERT INTO tenants (id, name, status, settings, created_at, updated_at) "
        f"SELECT 't' || n, 'tenant', 'active', :settings, :now, :now FROM ({sql.numbers(0, size.tenants)}) AS numbers",
        "INSERT INTO collections (tenant_id, name, description, created_at, updated_at) "
        f"SELECT 't' || (n / {_COLLECTIONS}), CASE n % {_COLLECTIONS} WHEN 0 THEN 'default' "
        f"ELSE 'c' || (n % {_COLLECTIONS}) END, '', :now, :now "
        f"FROM ({sql.numbers(0, size.tenants * _COLLECTIONS)}) AS numbers",
        "INSERT INTO collections (tenant_id, name, description, created_at, updated_at) "
        f"VALUES ('{LARGE}', '{FOLDER}', '', :now, :now)",
        f"INSERT INTO version_counters (tenant_id, last) SELECT id, {size.large} FROM tenants WHERE id LIKE 't%'",
        "INSERT INTO index_generations (tenant_id, name, embedder, dimension, state) "
        "SELECT id, 'e5', 'e5', 384, 'live' FROM tenants WHERE id LIKE 't%'",
        "INSERT INTO unseen_versions (tenant_id, version, document_id, due) "
        f"SELECT 't' || (n % {size.tenants}), 'v' || n, 'gone', NULL "
        f"FROM ({sql.numbers(0, 2 * size.tenants)}) AS numbers",
        "INSERT INTO lexical_totals (tenant_id, owner, passages) "
        f"SELECT id, '', {size.large} * 4 FROM tenants WHERE id LIKE 't%'",
        "INSERT INTO lexical_terms (tenant_id, owner, term_id, passages) "
        f"SELECT 't' || (n / {_TERMS}), '', n % {_TERMS}, {size.large} "
        f"FROM ({sql.numbers(0, size.tenants * _TERMS)}) AS numbers",
        "INSERT INTO lexical_terms (tenant_id, owner, term_id, passages) "
        f"SELECT '{LARGE}', '', n, {size.large} FROM ({sql.numbers(_TERMS, _VOCABULARY * _TERMS)}) AS numbers",
    ]
    terms = " ".join(f"WHEN {number} THEN {sql.bytes(f':terms{number}')}" for number in range(_VOCABULARY))
    waits = f"(k / {_JOB}) % 10 = 0"
    collection = (
        f"CASE WHEN tenant = '{LARGE}' AND k < {size.folder} THEN '{FOLDER}' "
        f"WHEN k % {_COLLECTIONS} = 0 THEN 'default' ELSE 'c' || (k % {_COLLECTIONS}) END"
    )
    fields = (
        "content_hash, owner, collection, language, title, filename, media_type, metadata, blob, size",
        f":hash, '', {collection}, 'hr', 'Title ' || n, 'file.md', 'text/markdown', {sql.json(':metadata')}, "
        "'t/' || n, 2000 + n % 1000",
    )
    for start in range(0, size.documents, _BATCH):
        rows = numbers.format(source=sql.numbers(start, min(start + _BATCH, size.documents)))
        job = f"'job_' || tenant || '_' || (k / {_JOB})"
        at = sql.seconds(f"k / {_JOB}")
        statements += [
            "INSERT INTO documents (tenant_id, id, version, fingerprint, passages, terms, embedder, chunking, "
            f"warnings, created_at, updated_at, {fields[0]}) SELECT tenant, 'd' || n, "
            f"CASE WHEN {waits} THEN '' ELSE 'v' || n END, 'f' || n, CASE WHEN {waits} THEN 0 ELSE 4 END, "
            f"CASE WHEN {waits} THEN {sql.bytes(':nothing')} ELSE CASE "
            f"CASE WHEN n < {size.large} THEN n % {_VOCABULARY} ELSE 0 END {terms} END END, "
            f"'e5', '', {sql.json(':warnings')}, {at}, {at}, {fields[1]} FROM {rows}",
            f"INSERT INTO jobs (tenant_id, id, bulk_detail, generation, trace, created_at) "
            f"SELECT tenant, job, '', '', {sql.json(':nothing_more')}, at "
            f"FROM (SELECT DISTINCT tenant, {job} AS job, {at} AS at FROM {rows}) AS jobs WHERE true "
            "ON CONFLICT DO NOTHING",
            "INSERT INTO job_documents (tenant_id, job_id, job_created_at, document_id, version, fingerprint, state, "
            "attempts, not_before, given_up, generation, written_to, chunks, chunks_done, warnings, updated_at, "
            f"{fields[0]}) SELECT tenant, {job}, {at}, 'd' || n, CASE WHEN {waits} THEN '' ELSE 'v' || n END, "
            f"'f' || n, CASE WHEN {waits} THEN 'queued' ELSE 'indexed' END, 0, {at}, {sql.false}, '', '', 4, 4, "
            f"{sql.json(':warnings')}, {at}, {fields[1]} FROM {rows}",
        ]
    logs = size.documents // 5
    of_collection = (
        "FROM documents WHERE documents.tenant_id = collections.tenant_id "
        "AND documents.collection = collections.name AND documents.version <> ''"
    )
    statements += [
        "INSERT INTO stored_blobs (tenant_id, key, document_id, size) SELECT tenant_id, blob, id, size FROM documents",
        "INSERT INTO tenant_usage (tenant_id, documents, bytes) "
        "SELECT tenant_id, COUNT(*), SUM(size) FROM documents GROUP BY tenant_id",
        f"UPDATE collections SET documents = (SELECT COUNT(*) {of_collection}), "
        f"passages = (SELECT COALESCE(SUM(documents.passages), 0) {of_collection})",
        "INSERT INTO ingestion_turns (tenant_id, lane, turn, due) "
        "SELECT DISTINCT tenant_id, 0, 0.0, :now FROM job_documents WHERE state = 'queued'",
        "INSERT INTO audit_log (tenant_id, at, actor, role, request_id, action, subject, details) "
        f"SELECT 't' || (n % {size.tenants}), {sql.seconds('n')}, 'key', 'query', 'r', 'document.indexed', 'd', "
        f"{sql.json(':nothing_more')} FROM ({sql.numbers(0, logs)}) AS numbers",
        "INSERT INTO query_log (tenant_id, query_id, at, key_id, request_id, user_id, language, outcome, sources, "
        "prompt_tokens, cached_tokens, completion_tokens, degraded, timings, trace_id) "
        f"SELECT 't' || (n % {size.tenants}), 'q' || n, {sql.seconds('n')}, 'key', 'r', '', 'hr', 'ok', 5, "
        f"900, 0, 90, {sql.json(':warnings')}, {sql.json(':nothing_more')}, '' "
        f"FROM ({sql.numbers(0, logs)}) AS numbers",
    ]
    values |= {"nothing": b"", "warnings": "[]", "nothing_more": "{}"}
    settings, now = sql.json(":settings"), sql.seconds("0")
    return [(statement.replace(":settings", settings).replace(":now", now), values) for statement in statements]


def _terms(number: int) -> dict[int, int]:
    return dict.fromkeys(range(number * _TERMS, (number + 1) * _TERMS), 1)


class _Sqlite:
    false = "0"

    def numbers(self, start: int, stop: int) -> str:
        return (
            f"WITH RECURSIVE counted(n) AS (SELECT {start} UNION ALL SELECT n + 1 FROM counted WHERE n < {stop - 1}) "
            "SELECT n FROM counted"
        )

    def seconds(self, number: str) -> str:
        return f"strftime('%Y-%m-%d %H:%M:%S', '2026-01-01', '+' || ({number}) || ' seconds') || '.000000'"

    def json(self, value: str) -> str:
        return value

    def bytes(self, value: str) -> str:
        return value


class _PostgreSql:
    false = "false"

    def numbers(self, start: int, stop: int) -> str:
        return f"SELECT n FROM generate_series({start}, {stop - 1}) AS series(n)"

    def seconds(self, number: str) -> str:
        return f"(timestamptz '2026-01-01 00:00:00+00' + ({number}) * interval '1 second')"

    def json(self, value: str) -> str:
        return f"CAST({value} AS json)"

    def bytes(self, value: str) -> str:
        return f"CAST({value} AS bytea)"
