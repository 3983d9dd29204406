"""What only a Milvus server has: it may be slow, away, and come back."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymilvus import MilvusClient
from pymilvus.client.types import ConsistencyLevel
from pymilvus.exceptions import MilvusException

from deployments.errors import StageUnavailable
from deployments.filters import parse
from deployments.retrieval.base import Index
from deployments.retrieval.config import RetrievalConfig
from deployments.retrieval.milvus import MilvusIndex, _index_params
from deployments.types import Candidate, IndexEntry, IndexGeneration, RetrievalRequest, VisibleVersions

Entry = Callable[..., IndexEntry]
Request = Callable[..., RetrievalRequest]


@pytest.fixture
async def opened() -> AsyncIterator[Callable[[RetrievalConfig], Any]]:
    """Opens indexes and closes them after the test."""
    made: list[Index] = []

    async def open(config: RetrievalConfig) -> MilvusIndex:
        index = MilvusIndex(config)
        made.append(index)
        await index.open()
        return index

    yield open
    for index in made:
        await asyncio.to_thread(index.close)


def within(seconds: float, index: MilvusIndex) -> None:
    """Change how long a call to Milvus may take."""
    config = index._config.model_copy(update={"timeout_s": seconds})
    index._config = index._connection._config = config


async def test_a_call_that_takes_too_long_is_given_up(
    lite_server: Any, opened: Callable[[RetrievalConfig], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    index = await opened(RetrievalConfig(uri=lite_server.uri))
    within(0.5, index)
    stuck = threading.Event()
    monkeypatch.setattr(index, "_collections", stuck.wait)
    with pytest.raises(StageUnavailable, match=r"0\.5 s \(retrieval\.timeout_s\)"):
        await index.check()
    stuck.set()


async def test_before_open_nothing_is_served(request_for: Request) -> None:
    index = MilvusIndex(RetrievalConfig(uri="http://127.0.0.1:1"))
    with pytest.raises(StageUnavailable, match="not open"):
        await index.search(request_for())
    index.close()


async def test_an_unreachable_server_is_unavailable_and_named() -> None:
    index = MilvusIndex(RetrievalConfig(uri="http://127.0.0.1:1", timeout_s=2))
    with pytest.raises(StageUnavailable, match=r"127\.0\.0\.1:1"):
        await index.open()
    index.close()


async def test_a_server_that_restarts_is_found_again(
    tmp_path: Path,
    lite_server_at: Callable[[Path], Any],
    opened: Callable[[RetrievalConfig], Any],
    generation: IndexGeneration,
    entry: Entry,
    request_for: Request,
) -> None:
    server = lite_server_at(tmp_path / "data")
    await asyncio.to_thread(server.start)
    index = await opened(RetrievalConfig(uri=server.uri))
    await index.upsert(generation, [entry("a")])
    server.stop()
    within(1, index)
    # More attempts than one, so that the client's back-off has grown.
    for call in (index.search(request_for()), index.upsert(generation, [entry("b")]), index.check()):
        with pytest.raises(StageUnavailable, match=str(server.port)):
            await call
    await asyncio.to_thread(server.start)
    within(30, index)
    assert [candidate.passage.id for candidate in await _found(index, request_for())] == ["a"]
    await index.upsert(generation, [entry("b")])
    assert await index.delete("t", "doc-a") == 1


async def _found(index: Any, request: RetrievalRequest) -> list[Candidate]:
    """What the index finds once the server has loaded its files. milvus-lite may refuse one of the first two calls,
    because both read a file that one of them writes."""
    while True:
        with suppress(StageUnavailable):
            found: list[Candidate] = await index.search(request)
            return found
        await asyncio.sleep(0.1)


async def test_the_token_comes_from_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from deployments.retrieval import milvus_connection

    seen: dict[str, Any] = {}

    class Client:
        def __init__(self, **settings: Any) -> None:
            seen.update(settings)

        def get_server_version(self, timeout: float) -> str:
            return "v2.6.0"

        def close(self) -> None:
            pass

    monkeypatch.setattr(milvus_connection, "MilvusClient", Client)
    monkeypatch.setenv("RAG_MILVUS_TOKEN", "secret")
    index = MilvusIndex(RetrievalConfig(uri="http://host:19530", database="rag"))
    await index.open()
    index.close()
    assert (seen["token"], seen["db_name"], seen["uri"]) == ("secret", "rag", "http://host:19530")


SERVER_SETTINGS: dict[str, Any] = {
    "consistency": "bounded",
    "index_type": "HNSW",
    "index_params": {"M": 24, "efConstruction": 200},
    "search_params": {"ef": 96},
    "replicas": 2,
    "partition_isolation": True,
    "own_databases": ("t",),
}


async def test_what_a_server_can_be_told_reaches_it(
    lite_server: Any,
    opened: Callable[[RetrievalConfig], Any],
    generation: IndexGeneration,
    entry: Entry,
    request_for: Request,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: dict[str, list[dict[str, Any]]] = {}
    for method in ("create_collection", "load_collection", "search", "query"):
        call = getattr(MilvusClient, method)

        def recorded(client: MilvusClient, *given: Any, method: str = method, call: Any = call, **options: Any) -> Any:
            told.setdefault(method, []).append(dict(options))
            options |= {"replica_number": 1} if method == "load_collection" else {}  # milvus-lite has one copy
            return call(client, *given, **options)

        monkeypatch.setattr(MilvusClient, method, recorded)
    settings = {name: value for name, value in SERVER_SETTINGS.items() if name != "own_databases"}
    index = await opened(RetrievalConfig(uri=lite_server.uri, collection_prefix="told", **settings))
    await index.upsert(generation, [entry("a")])
    assert [candidate.passage.id for candidate in await index.search(request_for(lexical={10: 1.0}))] == ["a"]
    assert await index.read("t", "doc-a", "v1", limit=10)
    assert told["create_collection"][0]["properties"] == {"partitionkey.isolation": True}
    assert told["load_collection"][0]["replica_number"] == 2
    searched = {call["anns_field"]: call for call in told["search"]}
    assert {call["consistency_level"] for call in searched.values()} == {ConsistencyLevel.Bounded}
    # As they are sent: Milvus may refuse 96.0 where it wants a whole number.
    assert json.dumps(searched["dense"]["search_params"]["params"]) == '{"ef": 96}'
    assert searched["lexical"]["search_params"]["params"] == {}
    assert {call["consistency_level"] for call in told["query"]} == {ConsistencyLevel.Strong}
    (dense, _) = _index_params(index._config, lite=False)
    kind = {"index_type": "HNSW", "metric_type": "IP"}
    assert dense.get_index_configs() == {**kind, "M": 24, "efConstruction": 200}
    assert {type(value) for name, value in dense.get_index_configs().items() if name not in kind} == {int}


@pytest.mark.parametrize("field", list(SERVER_SETTINGS))
def test_the_embedded_index_refuses_a_server_s_settings(field: str) -> None:
    given = {field: SERVER_SETTINGS[field], **({"index_type": "HNSW"} if field == "partition_isolation" else {})}
    with pytest.raises(ValueError, match=r"retrieval\.\w+ needs a Milvus server"):
        RetrievalConfig(**given)
    RetrievalConfig(uri="http://milvus:19530", **given)


def test_isolated_partitions_need_the_index_that_milvus_has_them_for() -> None:
    with pytest.raises(ValueError, match=r"partition_isolation needs retrieval\.index_type: HNSW"):
        RetrievalConfig(uri="http://milvus:19530", partition_isolation=True)


class Calls:
    """How many questions candidate call to Milvus held. Fails those of the tenant `bad`, and does not count them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[int] = []
        search = MilvusClient.search

        def counted(client: MilvusClient, name: str, data: list[Any], **options: Any) -> Any:
            if '"bad"' in options["filter"]:
                raise MilvusException(message="refused")
            self.made.append(len(data))
            return search(client, name, data, **options)

        monkeypatch.setattr(MilvusClient, "search", counted)


async def test_questions_that_share_calls_get_the_answers_they_would_get_alone(
    lite_server: Any,
    opened: Callable[[RetrievalConfig], Any],
    generation: IndexGeneration,
    entry: Entry,
    request_for: Request,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = RetrievalConfig(uri=lite_server.uri, collection_prefix="gathering")
    together = await opened(config)
    one_by_one = await opened(config.model_copy(update={"max_questions": 1}))
    random = np.random.default_rng(1)
    await together.upsert(
        generation,
        [
            entry(
                f"p{number}",
                tuple(random.standard_normal(4)),
                {10: 1.0, 11 + number % 5: 0.5 + number / 100},
                tenant_id="tu"[number % 2],
                version=f"v{number % 3}",
                metadata={"year": 2000 + number % 4},
            )
            for number in range(80)
        ],
    )
    scopes: list[dict[str, Any]] = [
        {"tenant_id": "t"},
        {"tenant_id": "t", "limit": 3},
        {"tenant_id": "t", "visible": VisibleVersions("v1", ())},
        {"tenant_id": "t", "visible": VisibleVersions("v2", ("v0",))},
        {"tenant_id": "t", "filter": parse("metadata.year == 2001")},
        {"tenant_id": "t", "user_id": "ana"},
        {"tenant_id": "u"},
        {"tenant_id": "bad"},
    ]
    requests = [
        request_for(tuple(random.standard_normal(4)), {11 + number % 5: 1.0} if number % 4 else {}, **scope)
        for number in range(6)
        for scope in scopes
    ]
    calls = Calls(monkeypatch)

    async def answers(index: MilvusIndex) -> list[Any]:
        return [
            repr(found) if isinstance(found, Exception) else found
            for found in await asyncio.gather(*map(index.search, requests), return_exceptions=True)
        ]

    alone = await answers(one_by_one)
    assert set(calls.made) == {1}
    calls.made.clear()
    shared = await answers(together)
    assert [type(found) for found in shared] == [
        str if request.scope.tenant_id == "bad" else list for request in requests
    ]
    for mine, yours in zip(shared, alone, strict=True):
        if isinstance(mine, str):
            assert mine == yours
            continue
        assert [candidate.passage for candidate in mine] == [candidate.passage for candidate in yours]
        for half in ("dense", "lexical", "fused"):
            scores = [[getattr(candidate.scores, half) for candidate in found] for found in (mine, yours)]
            # Not equal: a product of matrices and one of a matrix and a vector round differently.
            assert scores[0] == [score if score is None else pytest.approx(score, abs=1e-6) for score in scores[1]]
    assert sorted(calls.made) == [4] * (len(scopes) - 1) + [6] * (len(scopes) - 1)


async def test_the_wait_for_a_call_counts_as_its_time(
    lite_server: Any,
    opened: Callable[[RetrievalConfig], Any],
    generation: IndexGeneration,
    entry: Entry,
    request_for: Request,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    index = await opened(RetrievalConfig(uri=lite_server.uri, collection_prefix="slow"))
    await index.upsert(generation, [entry("a")])
    within(0.5, index)
    called, go_on = [], threading.Event()

    def slow(client: MilvusClient, name: str, data: list[Any], **options: Any) -> Any:
        called.append(options["filter"])
        go_on.wait(60)
        return [[] for _ in data]

    monkeypatch.setattr(MilvusClient, "search", slow)
    searches = (index.search(request_for()), index.search(request_for(user_id="ana")))
    results = await asyncio.gather(*searches, return_exceptions=True)
    made = len(called)
    go_on.set()
    assert made == 1
    for result in results:
        assert isinstance(result, StageUnavailable)
        assert "timeout_s" in result.message
