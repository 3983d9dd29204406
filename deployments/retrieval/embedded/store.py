"""The passages of the embedded index in a SQLite file: what is durable, and what segments are loaded from."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from deployments.errors import StageUnavailable
from deployments.retrieval.embedded.segment import FIELDS, Rows
from deployments.types import DocumentVersion, IndexEntry, Passage

V = TypeVar("V", int, str)

LAYOUT = 2
"""Of the file's tables. A file with another one is not opened."""
_WITHOUT_TOKENS = 1
"""A layout whose passages had no token vectors. They are found without."""
_APPLICATION_ID = 0x52414749
_BUSY_S = 10.0
_VARIABLES = 500
"""Values in one statement; every build of SQLite takes 999."""

_TABLES = """
CREATE TABLE embedders (
    number INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, dimension INTEGER NOT NULL
);
CREATE TABLE passages (
    number INTEGER PRIMARY KEY,
    embedder INTEGER NOT NULL REFERENCES embedders,
    tenant_id TEXT NOT NULL, id TEXT NOT NULL,
    document_id TEXT NOT NULL, version TEXT NOT NULL, position INTEGER NOT NULL,
    owner TEXT NOT NULL, collection TEXT NOT NULL, language TEXT NOT NULL,
    metadata TEXT NOT NULL, rest TEXT NOT NULL
);
CREATE UNIQUE INDEX passages_by_id ON passages (embedder, tenant_id, id);
CREATE INDEX passages_by_segment ON passages (embedder, tenant_id);
CREATE INDEX passages_by_document ON passages (tenant_id, document_id, version, position);
CREATE TABLE vectors (
    number INTEGER PRIMARY KEY REFERENCES passages, dense BLOB NOT NULL, terms BLOB NOT NULL, weights BLOB NOT NULL
);
"""
_TOKENS_TABLE = """
CREATE TABLE token_vectors (number INTEGER PRIMARY KEY REFERENCES passages, packed BLOB NOT NULL);
"""
"""Apart from the other vectors: it is ten times as large, and is read for few passages at once."""
_COLUMNS = (*("tenant_id", "id", "document_id", "version", "position"), *("owner", "collection", "language"))
"""The fields of a passage that have a column. All others are in `rest`, but for `metadata`."""
_REST = tuple(field.name for field in fields(Passage) if field.name not in (*_COLUMNS, "metadata"))
_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_OF_GENERATION = "(? = '' OR embedder = (SELECT number FROM embedders WHERE fingerprint = ?))"
"""The condition on a generation's passages; an empty name is any. It takes the name twice."""
_PASSAGE = ", ".join(f"passages.{column}" for column in ("number", *_COLUMNS, "metadata", "rest"))


class Embedder(NamedTuple):
    """What made some of the passages in the file. `fingerprint` names their generation, which one embedder made."""

    number: int
    fingerprint: str
    dimension: int


@dataclass(frozen=True, slots=True)
class Removed:
    """The numbers of removed passages, by embedder's number and tenant."""

    numbers: Mapping[tuple[int, str], npt.NDArray[np.int64]]

    def __len__(self) -> int:
        return sum(map(len, self.numbers.values()))


class PassageStore:
    """Blocks. One thread at a time may write; any may read, each through a connection of its own.

    Raises sqlite3.Error and OSError.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connections: list[sqlite3.Connection] = []
        self._local = threading.local()
        self._next = 1

    def open(self) -> None:
        """Make or check the file. Raises StageUnavailable for one of another layout."""
        database = self._connection()
        layout = database.execute("PRAGMA user_version").fetchone()[0]
        if layout == 0 and not database.execute("SELECT 1 FROM sqlite_schema").fetchone():
            database.executescript(
                f"PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; PRAGMA application_id = {_APPLICATION_ID};"
                f"BEGIN; {_TABLES} {_TOKENS_TABLE} PRAGMA user_version = {LAYOUT}; COMMIT;"
            )
        elif layout == _WITHOUT_TOKENS:
            database.executescript(f"BEGIN; {_TOKENS_TABLE} PRAGMA user_version = {LAYOUT}; COMMIT;")
        elif layout != LAYOUT:
            raise StageUnavailable(
                f"the index has layout {layout} and this release reads layout {LAYOUT}: start the release "
                "that made it, or set retrieval.uri to a new folder and run rag reindex",
                internal=str(self._path),
            )
        self._next = 1 + (database.execute("SELECT max(number) FROM passages").fetchone()[0] or 0)

    def check(self) -> None:
        """Whether the file can still be read."""
        self._connection().execute("SELECT count(*) FROM embedders").fetchone()

    def embedders(self) -> list[Embedder]:
        return [
            Embedder(*row) for row in self._connection().execute("SELECT number, fingerprint, dimension FROM embedders")
        ]

    # What is written

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is written inside is durable, all of it, when the block has ended, and none of it if it raises."""
        database = self._connection()
        database.execute("BEGIN IMMEDIATE")
        try:
            yield
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise

    def embedder(self, fingerprint: str, dimension: int) -> Embedder:
        """The embedder with this fingerprint, added if it is new."""
        database = self._connection()
        database.execute(
            "INSERT INTO embedders (fingerprint, dimension) VALUES (?, ?) ON CONFLICT DO NOTHING",
            (fingerprint, dimension),
        )
        row = database.execute(
            "SELECT number, fingerprint, dimension FROM embedders WHERE fingerprint = ?", (fingerprint,)
        ).fetchone()
        return Embedder(*row)

    def insert(self, embedder: Embedder, entries: Sequence[IndexEntry]) -> npt.NDArray[np.int64]:
        """Add passages, whose ids must not be there. Returns their numbers, which are higher than all before."""
        first, self._next = self._next, self._next + len(entries)
        database = self._connection()
        database.executemany(
            f"INSERT INTO passages (number, embedder, {', '.join(_COLUMNS)}, metadata, rest) "
            f"VALUES (?, ?, {', '.join('?' * len(_COLUMNS))}, ?, ?)",
            (
                (number, embedder.number, *_values(entry.passage), *_texts(entry.passage))
                for number, entry in enumerate(entries, first)
            ),
        )
        database.executemany(
            "INSERT INTO vectors (number, dense, terms, weights) VALUES (?, ?, ?, ?)",
            ((number, *_blobs(entry)) for number, entry in enumerate(entries, first)),
        )
        database.executemany(
            "INSERT INTO token_vectors (number, packed) VALUES (?, ?)",
            ((number, entry.tokens) for number, entry in enumerate(entries, first) if entry.tokens),
        )
        return np.arange(first, first + len(entries), dtype=np.int64)

    def remove_ids(self, embedder: Embedder, tenant_id: str, ids: Sequence[str]) -> Removed:
        """Remove a tenant's passages with these ids."""
        numbers: list[tuple[int, int, str]] = []
        for some, places in _at_once(ids):
            numbers += self._found(
                f"embedder = ? AND tenant_id = ? AND id IN ({places})", (embedder.number, tenant_id, *some)
            )
        return self._remove(numbers)

    def remove_document(self, tenant_id: str, document_id: str) -> Removed:
        return self._remove(self._found("tenant_id = ? AND document_id = ?", (tenant_id, document_id)))

    def remove_versions(self, tenant_id: str, versions: Sequence[DocumentVersion]) -> Removed:
        found: list[tuple[int, int, str]] = []
        for version in dict.fromkeys(versions):
            found += self._found(
                "tenant_id = ? AND document_id = ? AND version = ?", (tenant_id, version.document_id, version.version)
            )
        return self._remove(found)

    def remove_tenant(self, tenant_id: str, collection: str, generation: str) -> Removed:
        """Remove a tenant's passages, or those of one of its collections, of one generation, or of both."""
        condition = f"tenant_id = ? AND (? = '' OR collection = ?) AND {_OF_GENERATION}"
        return self._remove(self._found(condition, (tenant_id, collection, collection, generation, generation)))

    def _found(self, condition: str, values: Sequence[Any]) -> list[tuple[int, int, str]]:
        return (
            self._connection()
            .execute(f"SELECT number, embedder, tenant_id FROM passages WHERE {condition}", values)
            .fetchall()
        )

    def _remove(self, found: Sequence[tuple[int, int, str]]) -> Removed:
        database = self._connection()
        numbers = [(number,) for number, _, _ in found]
        database.executemany("DELETE FROM token_vectors WHERE number = ?", numbers)
        database.executemany("DELETE FROM vectors WHERE number = ?", numbers)
        database.executemany("DELETE FROM passages WHERE number = ?", numbers)
        by_segment: dict[tuple[int, str], list[int]] = {}
        for number, embedder, tenant_id in found:
            by_segment.setdefault((embedder, tenant_id), []).append(number)
        return Removed({key: np.asarray(each, np.int64) for key, each in by_segment.items()})

    # What is read

    def rows(self, embedder: Embedder, tenant_id: str, *, at_once: int = 16_384) -> Iterator[Rows]:
        """All rows of a segment, in order of their numbers, so many at once."""
        reading = self._connection().execute(
            f"SELECT number, dense, terms, weights, {', '.join(FIELDS)} "
            "FROM passages INDEXED BY passages_by_segment CROSS JOIN vectors USING (number) "
            "WHERE embedder = ? AND tenant_id = ? ORDER BY number",
            (embedder.number, tenant_id),
        )
        while found := reading.fetchmany(at_once):
            yield _rows(found, embedder.dimension)

    def metadata(self, embedder: Embedder, tenant_id: str) -> dict[int, dict[str, Any]]:
        """The metadata of a segment's passages, by number."""
        rows = self._connection().execute(
            "SELECT number, metadata FROM passages WHERE embedder = ? AND tenant_id = ?", (embedder.number, tenant_id)
        )
        return {number: json.loads(metadata) for number, metadata in rows}

    def passages(self, numbers: Sequence[int]) -> dict[int, Passage]:
        """The passages with these numbers that are still there."""
        found: dict[int, Passage] = {}
        for some, places in _at_once(numbers):
            for row in self._connection().execute(f"SELECT {_PASSAGE} FROM passages WHERE number IN ({places})", some):
                found[row[0]] = _passage(row)
        return found

    def tokens(self, numbers: Sequence[int]) -> dict[int, bytes]:
        """The packed token vectors of the passages with these numbers, of those that have any."""
        found: dict[int, bytes] = {}
        for some, places in _at_once(numbers):
            found.update(
                self._connection().execute(f"SELECT number, packed FROM token_vectors WHERE number IN ({places})", some)
            )
        return found

    def count(self, embedder: Embedder, tenant_id: str) -> int:
        """How many passages a segment has."""
        counting = "SELECT count(*) FROM passages WHERE embedder = ? AND tenant_id = ?"
        return int(self._connection().execute(counting, (embedder.number, tenant_id)).fetchone()[0])

    def window(
        self, tenant_id: str, document_id: str, version: str, after: int, limit: int, generation: str
    ) -> list[Passage]:
        """The passages of a version at the `limit` positions after `after`, in order; of one id the first."""
        rows = self._connection().execute(
            f"SELECT {_PASSAGE} FROM passages "
            f"WHERE tenant_id = ? AND document_id = ? AND version = ? AND position > ? AND position <= ? "
            f"AND {_OF_GENERATION} ORDER BY position, number",
            (tenant_id, document_id, version, after, after + limit, generation, generation),
        )
        return list({passage.id: passage for passage in map(_passage, rows)}.values())

    def entries(
        self, tenant_id: str, document_id: str, version: str, after: int, limit: int, generation: str
    ) -> dict[Embedder, list[IndexEntry]]:
        """The same with their vectors, by embedder."""
        by_number = {embedder.number: embedder for embedder in self.embedders()}
        rows = self._connection().execute(
            f"SELECT {_PASSAGE}, embedder, dense, terms, weights, coalesce(packed, x'') "
            "FROM passages JOIN vectors USING (number) LEFT JOIN token_vectors USING (number) "
            "WHERE tenant_id = ? AND document_id = ? AND version = ? AND position > ? AND position <= ? "
            f"AND {_OF_GENERATION}",
            (tenant_id, document_id, version, after, after + limit, generation, generation),
        )
        found: dict[Embedder, list[IndexEntry]] = {}
        for *passage, embedder, dense, terms, weights, packed in rows:
            lexical = dict(
                zip(np.frombuffer(terms, "<u4").tolist(), np.frombuffer(weights, "<f4").tolist(), strict=True)
            )
            entry = IndexEntry(_passage(passage), np.frombuffer(dense, "<f4"), lexical, packed)
            found.setdefault(by_number[embedder], []).append(entry)
        return found

    def close(self) -> None:
        """Close all connections. No call may be under way."""
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    def _connection(self) -> sqlite3.Connection:
        """This thread's."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            # Closed by another thread, and in autocommit mode: transactions are begun by name.
            connection = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA synchronous = FULL")
            self._connections.append(connection)
            self._local.connection = connection
        return connection


def _at_once(values: Sequence[V]) -> Iterator[tuple[Sequence[V], str]]:
    """The values, as many at a time as one statement takes, each time with the places that stand for them in it."""
    for start in range(0, len(values), _VARIABLES):
        some = values[start : start + _VARIABLES]
        yield some, ", ".join("?" * len(some))


def rows_of(entries: Sequence[IndexEntry], numbers: npt.NDArray[np.int64]) -> Rows:
    """Entries as the rows that they are under these numbers."""
    blobs = [_blobs(entry) for entry in entries]
    fields = [[getattr(entry.passage, field) for field in FIELDS] for entry in entries]
    found = [(int(number), *each, *more) for number, each, more in zip(numbers, blobs, fields, strict=True)]
    return _rows(found, len(entries[0].dense))


def _rows(found: Sequence[Sequence[Any]], dimension: int) -> Rows:
    numbers, dense, terms, weights, *values = zip(*found, strict=True)
    return Rows(
        np.asarray(numbers, np.int64),
        np.frombuffer(b"".join(dense), "<f4").reshape(-1, dimension),
        np.fromiter(map(len, terms), np.int64, len(terms)) // 4,
        np.frombuffer(b"".join(terms), "<u4"),
        np.frombuffer(b"".join(weights), "<f4"),
        dict(zip(FIELDS, values, strict=True)),
    )


def _blobs(entry: IndexEntry) -> tuple[bytes, bytes, bytes]:
    terms = np.fromiter(entry.lexical.keys(), "<u4", len(entry.lexical))
    weights = np.fromiter(entry.lexical.values(), "<f4", len(entry.lexical))
    return np.asarray(entry.dense, "<f4").tobytes(), terms.tobytes(), weights.tobytes()


def _values(passage: Passage) -> tuple[Any, ...]:
    return tuple(getattr(passage, column) for column in _COLUMNS)


def _texts(passage: Passage) -> tuple[str, str]:
    rest = {field: getattr(passage, field) for field in _REST}
    return _json(dict(passage.metadata)), _json(rest)


def _passage(row: Sequence[Any]) -> Passage:
    _, *values, metadata, rest = row
    return Passage(**dict(zip(_COLUMNS, values, strict=True)), metadata=json.loads(metadata), **json.loads(rest))
