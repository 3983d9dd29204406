from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployments.retrieval.base import Index, create
from deployments.retrieval.config import RetrievalConfig
from deployments.retrieval.embedded import index as embedded_index
from deployments.retrieval.embedded.folder import IndexFolder
from deployments.types import Embeddings, IndexEntry, IndexGeneration, Passage, RetrievalRequest, Scope
from tests.support.milvus_server import LiteServer

Entry = Callable[..., IndexEntry]
Request = Callable[..., RetrievalRequest]


@pytest.fixture
def generation() -> IndexGeneration:
    return IndexGeneration("f1", "f1", 4)


@pytest.fixture
def entry() -> Entry:
    """A passage of tenant `t` with a vector that is made unit length, and any field given by name."""

    def make(
        id: str, dense: tuple[float, ...] = (1, 0, 0, 0), lexical: Mapping[int, float] | None = None, **fields: Any
    ) -> IndexEntry:
        passage = {
            "id": id,
            "document_id": f"doc-{id}",
            "version": "v1",
            "tenant_id": "t",
            "owner": "",
            "collection": "c",
            "language": "hr",
            "position": 0,
            "title": f"Naslov {id}",
            "text": f"Tekst „{id}” s čćšžđ",
            **fields,
        }
        vector = np.asarray(dense, dtype=np.float32)
        return IndexEntry(
            Passage(**passage), vector / np.linalg.norm(vector), {10: 1.0} if lexical is None else lexical
        )

    return make


@pytest.fixture
def request_for() -> Request:
    """A question of tenant `t`; fields of the scope by name."""

    def make(
        dense: tuple[float, ...] = (1, 0, 0, 0),
        lexical: Mapping[int, float] | None = None,
        limit: int = 50,
        fingerprint: str = "f1",
        languages: tuple[str, ...] = (),
        **scope: Any,
    ) -> RetrievalRequest:
        vector = np.asarray([dense], dtype=np.float32)
        return RetrievalRequest(
            scope=Scope(**{"tenant_id": "t", **scope}),
            dense=Embeddings(vector / np.linalg.norm(vector), fingerprint, languages),
            lexical=lexical or {},
            language="hr",
            limit=limit,
        )

    return make


@pytest.fixture
def lock_attempts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that this process has tried to lock from now on. It tries again soon."""
    attempts: list[str] = []
    try_lock = IndexFolder.try_lock

    def counted(folder: IndexFolder) -> bool:
        locked = try_lock(folder)
        attempts.append(str(folder.path))
        return locked

    monkeypatch.setattr(IndexFolder, "try_lock", counted)
    monkeypatch.setattr(embedded_index, "LOCK_POLL_S", 0.01)
    return attempts


@pytest.fixture(scope="session")
def lite_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiteServer]:
    server = LiteServer(tmp_path_factory.mktemp("server") / "data")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def lite_server_at() -> Iterator[Callable[[Path], LiteServer]]:
    """Makes servers of a test's own, not yet started, and stops them after it."""
    made: list[LiteServer] = []

    def make(folder: Path) -> LiteServer:
        made.append(LiteServer(folder))
        return made[-1]

    yield make
    for server in made:
        server.stop()


@pytest.fixture(params=["fake", "embedded", "milvus-server", "milvus-databases"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> RetrievalConfig:
    """Each engine, empty: a folder of its own, or a prefix of its own on the shared server."""
    match request.param:
        case "fake":
            return RetrievalConfig(backend="fake")
        case "embedded":
            return RetrievalConfig(uri=str(tmp_path / "index"))
        case kind:
            server: LiteServer = request.getfixturevalue("lite_server")
            own = ("*",) if kind == "milvus-databases" else ()
            return RetrievalConfig(uri=server.uri, collection_prefix=f"p{uuid.uuid4().hex[:12]}", own_databases=own)


@pytest.fixture
async def index(config: RetrievalConfig) -> AsyncIterator[Index]:
    index = create(config)
    await index.open()
    yield index
    await asyncio.to_thread(index.close)
