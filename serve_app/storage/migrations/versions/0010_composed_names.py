"""Ids, owners, titles, file names and metadata in Unicode NFC.

The index has what a document was called before. So the passages of such a document are removed from it under its former
id, and the document is queued to be indexed again. It gets a version of which the index has nothing.

If another document has the id already, neither is removed: the one that is renamed gets an id with a number behind it.
Names of collections were always composed.
"""

from __future__ import annotations

import logging
import unicodedata
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any, NamedTuple

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

logger = logging.getLogger(__name__)

_PAGE = 500
"""Rows in memory at once."""
_MAX_ID = 256
_LABELS = ("owner", "title", "filename", "metadata")
_UNFINISHED = ("queued", "parsing", "embedding")
_NOTHING_DONE = {
    "version": "",
    "state": "queued",
    "worker": None,
    "lease_until": None,
    "written_to": "",
    "chunks": 0,
    "chunks_done": 0,
}
_COUNT_VERSION = sa.text(
    "INSERT INTO version_counters (tenant_id, last) VALUES (:tenant, 1) "
    "ON CONFLICT (tenant_id) DO UPDATE SET last = version_counters.last + 1 RETURNING last"
)
_ADD_TERMS = sa.text(
    "INSERT INTO lexical_terms (tenant_id, owner, term_id, passages) "
    "SELECT tenant_id, :new, term_id, passages FROM lexical_terms WHERE tenant_id = :tenant AND owner = :old "
    "ON CONFLICT (tenant_id, owner, term_id) DO UPDATE SET passages = lexical_terms.passages + excluded.passages"
)
_ADD_TOTAL = sa.text(
    "INSERT INTO lexical_totals (tenant_id, owner, passages) "
    "SELECT tenant_id, :new, passages FROM lexical_totals WHERE tenant_id = :tenant AND owner = :old "
    "ON CONFLICT (tenant_id, owner) DO UPDATE SET passages = lexical_totals.passages + excluded.passages"
)


def upgrade() -> None:
    connection, tables = op.get_bind(), sa.MetaData()
    for name in ("tenants", "collections", "documents", "jobs", "job_documents", "unseen_versions", "lexical_totals"):
        sa.Table(name, tables, autoload_with=connection, resolve_fks=False)
    now = datetime.now(UTC)
    for tenant in connection.scalars(sa.select(tables.tables["tenants"].c.id)).all():
        _Tenant(connection, tables.tables, tenant, now).compose()


class _Tenant(NamedTuple):
    connection: sa.Connection
    tables: Any
    id: str
    now: datetime

    def compose(self) -> None:
        self._compose_owners()
        renamed = self._new_ids()
        self._compose_versions_on_their_way(renamed)
        if again := self._compose_documents(renamed):
            self._queue(again)

    def _compose_owners(self) -> None:
        """Add up what the statistics count for two forms of one owner."""
        totals = self.tables["lexical_totals"]
        owners = self.connection.scalars(sa.select(totals.c.owner).where(totals.c.tenant_id == self.id)).all()
        for old in owners:
            if (new := _composed(old)) != old:
                names = {"tenant": self.id, "old": old, "new": new}
                for add, table in ((_ADD_TERMS, "lexical_terms"), (_ADD_TOTAL, "lexical_totals")):
                    self.connection.execute(add, names)
                    remove = sa.text(f"DELETE FROM {table} WHERE tenant_id = :tenant AND owner = :old")
                    self.connection.execute(remove, {"tenant": self.id, "old": old})

    def _new_ids(self) -> dict[str, str]:
        """Former id → new id, of the documents whose id changes."""
        documents = self.tables["documents"]
        ids = self.connection.scalars(sa.select(documents.c.id).where(documents.c.tenant_id == self.id)).all()
        taken, renamed = set(ids), {}
        for old in sorted(ids):
            if (wanted := _composed(old)) != old:
                numbered = (f"{wanted[: _MAX_ID - 8]} ({number})" for number in count(2))
                renamed[old] = wanted if wanted not in taken else next(name for name in numbered if name not in taken)
                taken.add(renamed[old])
                if renamed[old] != wanted:
                    logger.warning(
                        "tenant %s: a document has the id %r in another Unicode form too, and is %r from now on; "
                        "delete the one that is not needed",
                        self.id,
                        wanted,
                        renamed[old],
                    )
        return renamed

    def _compose_versions_on_their_way(self, renamed: dict[str, str]) -> None:
        """Versions that are not finished begin again. Those that fill another generation go: what lacks there once all
        others are done is queued then."""
        table = self.tables["job_documents"]
        for row in self._pages(table, table.c.sequence):
            change = _changes(row) | _renaming(row, "document_id", renamed)
            if not change:
                continue
            this = table.c.sequence == row["sequence"]
            if row["state"] in _UNFINISHED:
                self._hide(row["document_id"], row["version"], only_known=True)
                if row["generation"]:
                    self.connection.execute(sa.delete(table).where(this))
                    continue
                change |= _NOTHING_DONE
            self.connection.execute(sa.update(table).where(this).values(**change))

    def _compose_documents(self, renamed: dict[str, str]) -> list[dict[str, Any]]:
        """The documents that are to be indexed again."""
        table, versions = self.tables["documents"], self.tables["job_documents"]
        again = []
        for row in self._pages(table, table.c.id):
            change = _changes(row) | _renaming(row, "id", renamed)
            if not change:
                continue
            if row["version"]:
                self._hide(row["id"], row["version"])
                change["version"] = f"v{self.connection.scalar(_COUNT_VERSION, {'tenant': self.id}):015d}"
            this = (table.c.tenant_id == self.id, table.c.id == row["id"])
            self.connection.execute(sa.update(table).where(*this).values(**change))
            document = row | change
            newer = sa.select(versions.c.sequence).where(
                versions.c.tenant_id == self.id,
                versions.c.document_id == document["id"],
                versions.c.state.in_(_UNFINISHED),
            )
            if document["version"] and self.connection.scalar(newer.limit(1)) is None:
                again.append(document)
        return again

    def _hide(self, document_id: str, version: str, *, only_known: bool = False) -> None:
        """Have a version's passages removed, of the id that the index knows. Their bytes stay.

        `only_known`: only if it is hidden already, as those are that are being written.
        """
        hidden = self.tables["unseen_versions"]
        key = {"tenant_id": self.id, "version": version}
        this = (hidden.c.tenant_id == self.id, hidden.c.version == version)
        no_bytes = {name: "" for name in ("blob",) if name in hidden.c}  # later revisions have no such column
        known = self.connection.execute(sa.update(hidden).where(*this).values(due=self.now, **no_bytes)).rowcount
        if not known and not only_known:
            row = {**key, **no_bytes, "document_id": document_id, "due": self.now}
            self.connection.execute(sa.insert(hidden).values(**row))

    def _queue(self, documents: list[dict[str, Any]]) -> None:
        """Have the documents indexed again from their bytes, by a job as for a reindexing in place."""
        jobs, versions, collections = (self.tables[name] for name in ("jobs", "job_documents", "collections"))
        job = {"tenant_id": self.id, "id": f"job_{uuid.uuid4().hex}", "created_at": self.now}
        job |= {"bulk_detail": "", "reindex": "in_place", "generation": ""}
        self.connection.execute(sa.insert(jobs).values(**job))
        sizes = sa.select(collections.c.name, collections.c.chunk_tokens, collections.c.chunk_overlap)
        found = self.connection.execute(sizes.where(collections.c.tenant_id == self.id))
        sizes_of = {name: {"chunk_tokens": tokens, "chunk_overlap": overlap} for name, tokens, overlap in found}
        for document in documents:
            row = {name: value for name, value in document.items() if name in versions.c}
            row |= {"job_id": job["id"], "document_id": document["id"], **sizes_of[document["collection"]]}
            row |= {**_NOTHING_DONE, "attempts": 0, "given_up": False, "generation": ""}
            row |= {"not_before": self.now, "updated_at": self.now}
            self.connection.execute(sa.insert(versions).values(**row))

    def _pages(self, table: Any, key: Any) -> Iterator[dict[str, Any]]:
        """The tenant's rows in the order of a key, without what may be large."""
        columns = [column for column in table.c if column.name != "terms"]
        after: Any = None
        while True:
            page = sa.select(*columns).where(table.c.tenant_id == self.id).order_by(key).limit(_PAGE)
            rows = self.connection.execute(page if after is None else page.where(key > after)).mappings().all()
            yield from map(dict, rows)
            if len(rows) < _PAGE:
                return
            after = rows[-1][key.name]


def _changes(row: dict[str, Any]) -> dict[str, Any]:
    """What of a row is composed otherwise."""
    composed = {name: _composed(row[name]) for name in _LABELS}
    return {name: value for name, value in composed.items() if value != row[name]}


def _renaming(row: dict[str, Any], column: str, renamed: dict[str, str]) -> dict[str, str]:
    return {column: renamed[row[column]]} if row[column] in renamed else {}


def _composed(value: Any) -> Any:
    match value:
        case str():
            return unicodedata.normalize("NFC", value)
        case dict():
            return {_composed(key): _composed(each) for key, each in value.items()}
        case list():
            return [_composed(each) for each in value]
        case _:
            return value
