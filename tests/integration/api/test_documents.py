from __future__ import annotations

import asyncio
import functools
import hashlib
from dataclasses import replace
from typing import Any

import pytest

from deployments.errors import StageUnavailable
from deployments.filter_values import MAX_VALUES
from deployments.ingestion.base import DocumentTask, IndexedDocument, RemovedBlob
from serve_app.platform.visibility import Visibility
from serve_app.schemas.documents import DocumentSelection
from serve_app.services import deletion
from serve_app.services.access import Access
from tests.integration.api.conftest import LIMITS, Api
from tests.support.pipeline import passage


async def no_trace(api: Api) -> None:
    assert api.stored_files() == []
    assert await api.stores.jobs.queue.claim("w", lease_s=30, limit=10) == []
    assert api.announced == []


async def test_text_is_accepted_with_its_bytes_and_job_on_disk(api: Api) -> None:
    body = {
        "id": "nn-30-18",
        "title": "Zakon",
        "text": "Članak 1. Žalba.",
        "collection": "zakoni",
        "language": "hr",
        "user": "u1",
        "metadata": {"year": 2018},
    }
    answer = await api.client.post("/v1/documents", json=body)
    assert answer.status_code == 202
    accepted = answer.json()
    assert accepted["document_id"] == "nn-30-18"
    assert answer.headers["location"] == f"/v1/jobs/{accepted['job_id']}"
    assert len(api.announced) == 1
    [task] = await api.stores.jobs.queue.claim("w", lease_s=30, limit=10)
    assert (task.document_id, task.owner, task.collection, task.language) == ("nn-30-18", "u1", "zakoni", "hr")
    assert task.metadata == {"year": 2018}
    assert (await api.stores.blobs.read(task.blob)).decode() == body["text"]
    job = (await api.client.get(answer.headers["location"])).json()
    assert job["id"] == accepted["job_id"]
    assert sum(job["counts"].values()) == 1
    assert [d["id"] for d in job["documents"]] == ["nn-30-18"]


async def test_files_are_accepted_together(api: Api) -> None:
    files = [("files", ("a/jedan.md", b"# Jedan\n\ntekst")), ("files", ("dva.txt", b"tekst"))]
    answer = await api.client.post("/v1/documents", files=files, data={"collection": "c", "metadata": '{"year": 2020}'})
    assert answer.status_code == 202, answer.text
    accepted = answer.json()
    assert accepted["document_id"] is None
    assert [d["filename"] for d in accepted["documents"]] == ["a/jedan.md", "dva.txt"]
    tasks = await api.stores.jobs.queue.claim("w", lease_s=30, limit=10)
    assert {t.filename for t in tasks} == {"a/jedan.md", "dva.txt"}
    assert all(t.metadata == {"year": 2020} for t in tasks)
    assert len(api.stored_files()) == 2


@pytest.mark.parametrize(
    "body",
    [
        {"json": {"text": "a", "bulk": True}},
        {"files": [("files", ("a.txt", b"a"))], "data": {"bulk": "true"}},
    ],
)
async def test_documents_may_be_handed_in_for_a_ray_job(api: Api, body: dict[str, Any]) -> None:
    answer = await api.client.post("/v1/documents", **body)
    assert answer.status_code == 202, answer.text
    job = (await api.client.get(answer.headers["location"])).json()
    assert job["bulk"] == {"ray_job": f"ingest-t-{job['id']}", "state": "waiting", "detail": None}
    assert len(api.announced) == 1
    assert await api.stores.jobs.queue.claim("w", lease_s=30, limit=10) == []


@pytest.mark.parametrize(
    ("body", "status", "code", "names"),
    [
        ({}, 422, "invalid_request", "text"),
        ({"text": ""}, 422, "invalid_request", "text"),
        ({"text": " \n "}, 422, "invalid_request", "text"),
        ({"text": "a\x00b"}, 422, "invalid_request", "text"),
        ({"text": "a", "txt": "b"}, 422, "invalid_request", "txt"),
        ({"text": "a", "id": ""}, 422, "invalid_request", "id"),
        ({"text": "a", "id": "x" * 257}, 422, "invalid_request", "id"),
        ({"text": "a", "id": "a\nb"}, 422, "invalid_request", "id"),
        ({"text": "a", "language": "xx"}, 422, "invalid_request", "language"),
        ({"text": "a", "collection": "a b/c"}, 422, "invalid_request", "collection"),
        ({"text": "a", "bulk": "maybe"}, 422, "invalid_request", "bulk"),
        ({"text": "a", "metadata": [1]}, 422, "invalid_request", "metadata"),
        ({"text": "a", "metadata": {"k": "x" * 16_384}}, 422, "invalid_request", "metadata"),
        ({"text": "a" * (64 * 1024)}, 413, "document_too_large", "body"),
    ],
)
async def test_bad_text_leaves_no_trace(api: Api, body: dict[str, Any], status: int, code: str, names: str) -> None:
    answer = await api.client.post("/v1/documents", json=body)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), problem
    assert names in problem["detail"]
    await no_trace(api)


@pytest.mark.parametrize("waiting", [1, 2])
async def test_an_upload_without_room_is_refused_and_leaves_no_bytes(api: Api, waiting: int) -> None:
    api.stores.jobs.max_waiting = 2
    for number in range(waiting):
        await api.client.post("/v1/documents", json={"id": f"d{number}", "text": str(number)})
    files = [("files", ("a.md", b"a")), ("files", ("b.md", b"b"))]
    answer = await api.client.post("/v1/documents", files=files)
    assert (answer.status_code, answer.json()["code"], answer.json()["retryable"]) == (429, "rate_limited", True)
    assert "api.max_waiting_documents" in answer.json()["detail"]
    assert answer.headers["Retry-After"] == "10"
    assert len(api.stored_files()) == waiting
    await api.stores.jobs.queue.claim("w", lease_s=30, limit=waiting)
    assert (await api.client.post("/v1/documents", files=files)).status_code == 202


def named(api: Api, name: str, content: bytes) -> str:
    """The URI of a file that the service may read."""
    (api.folder / "named").mkdir(exist_ok=True)
    (api.folder / "named" / name).write_bytes(content)
    return f"file://{api.folder}/named/{name}"


async def test_a_document_is_fetched_by_its_uri_before_it_is_accepted(api: Api) -> None:
    uri = named(api, "zakon.html", b"<h1>Zakon</h1>")
    first = await api.client.post("/v1/documents", json={"uri": uri, "title": "Zakon", "user": "u1"})
    assert first.status_code == 202, first.text
    [task] = await api.stores.jobs.queue.claim("w", lease_s=30, limit=10)
    assert (task.filename, task.title, task.owner) == ("zakon.html", "Zakon", "u1")
    assert await api.stores.blobs.read(task.blob) == b"<h1>Zakon</h1>"
    named(api, "zakon.html", b"# Zakon")
    given = {"uri": uri, "filename": "zakon.md", "media_type": "text/markdown", "user": "u1"}
    second = await api.client.post("/v1/documents", json=given)
    other = await api.client.post("/v1/documents", json=given | {"user": "u2"})
    assert second.json()["document_id"] == first.json()["document_id"] == task.document_id
    assert other.json()["document_id"] != task.document_id
    assert {t.filename for t in await api.stores.jobs.queue.claim("w", lease_s=30, limit=10)} == {"zakon.md"}


@pytest.mark.parametrize(
    ("body", "status", "code", "names"),
    [
        ({"text": "a", "uri": "{root}/a.txt"}, 422, "invalid_request", "text and uri"),
        ({"text": "a", "filename": "a.txt"}, 422, "invalid_request", "filename"),
        ({"uri": ""}, 422, "invalid_request", "uri"),
        ({"uri": "{root}/" + "a" * 2_048}, 422, "invalid_request", "uri"),
        ({"uri": "{root}/missing.txt"}, 422, "invalid_request", "uri: names no file"),
        ({"uri": "{root}/../rag.db"}, 422, "invalid_request", "uri: names no file"),
        ({"uri": "https://127.0.0.2:9/"}, 422, "invalid_request", "uri: "),
        ({"uri": "{root}/a.exe"}, 415, "unsupported_document", "uri: "),
        ({"uri": "{root}/empty.txt"}, 422, "broken_document", "uri: "),
        ({"uri": "{root}/large.txt"}, 413, "document_too_large", "uri: "),
        ({"uri": "https://127.0.0.1:9/a.txt"}, 502, "unreachable", "uri: 127.0.0.1"),
    ],
)
async def test_what_cannot_be_fetched_leaves_no_trace(
    api: Api, body: dict[str, Any], status: int, code: str, names: str
) -> None:
    for name, content in {"a.txt": b"a", "a.exe": b"MZ\x90\x00", "empty.txt": b"", "large.txt": b"a" * 65_537}.items():
        named(api, name, content)
    sent = {key: value.replace("{root}", f"file://{api.folder}/named") for key, value in body.items()}
    answer = await api.client.post("/v1/documents", json=sent)
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["retryable"]) == (status, code, status == 502), problem
    assert names in problem["detail"]
    await no_trace(api)


@pytest.mark.parametrize(
    ("files", "data", "status", "names"),
    [
        ([], {"collection": "c"}, 415, "Content-Type"),
        ([("file", ("a.txt", b"x"))], {}, 422, "file"),
        ([("files", ("a.txt", b"x")), ("files", ("b.txt", b""))], {}, 422, "b.txt"),
        ([("files", ("a.txt", b"x")), ("files", ("b.exe", b"MZ\x90\x00"))], {}, 415, "b.exe"),
        ([("files", ("x" * 300, b"x"))], {}, 422, "name"),
        ([("files", (f"{n}.txt", b"x")) for n in range(4)], {}, 422, "files"),
        ([("files", (f"{n}.txt", b"x")) for n in range(2)], {"id": "one"}, 422, "id"),
        ([("files", ("a.txt", b"x"))], {"metadata": "nope"}, 422, "metadata"),
        ([("files", ("a.txt", b"x"))], {"metadata": "[1]"}, 422, "metadata"),
        ([("files", ("a.txt", b"x"))], {"colection": "c"}, 422, "colection"),
        ([("files", ("a.txt", b"x" * 70_000))], {}, 413, "body"),
    ],
)
async def test_bad_uploads_leave_no_trace(
    api: Api, files: list[Any], data: dict[str, str], status: int, names: str
) -> None:
    answer = await api.client.post("/v1/documents", files=files, data=data)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert names in answer.json()["detail"]
    await no_trace(api)


@pytest.mark.parametrize("number", ["1" + "0" * 400, str(2**63), "-1e400", "NaN", "Infinity"])
async def test_a_number_that_cannot_be_kept_is_refused_wherever_metadata_come_in(api: Api, number: str) -> None:
    await index(api, id="d", text="a")
    is_json = {"Content-Type": "application/json"}
    metadata, document = f'{{"x":{number}}}', f'{{"text":"a","metadata":{{"x":{number}}}}}'
    command = f'{{"id":"c","command":"process_documents","params":{{"documents":[{document}]}}}}'
    files = [("files", ("a.txt", b"x"))]
    for answer in (
        await api.client.post("/v1/documents", content=document, headers=is_json),
        await api.client.post("/v1/documents", files=files, data={"metadata": metadata}),
        await api.client.patch("/v1/documents/d", content=f'{{"metadata":{metadata}}}', headers=is_json),
        await api.client.post("/v1/commands", content=command, headers=is_json),
    ):
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (422, "invalid_request"), problem
        assert "metadata.x: is " in problem["detail"]
    assert await api.stores.jobs.queue.claim("w", lease_s=30, limit=10) == []
    assert (await api.client.get("/v1/documents/d")).json()["metadata"] == {}


async def test_metadata_have_a_bounded_number_of_values(api: Api) -> None:
    most: dict[str, Any] = {"list": [{"a": number} for number in range(MAX_VALUES - 1)], "x": None}
    await index(api, id="d", text="a", metadata=most)
    one_more = {"metadata": {"y": 1, "z": 1}}
    for answer in (
        await api.client.patch("/v1/documents/d", json=one_more),
        await api.client.post("/v1/documents", json={"text": "b", "metadata": most | one_more["metadata"]}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
        assert f"metadata has {MAX_VALUES + 1} values; at most {MAX_VALUES}" in answer.json()["detail"]


async def test_deeply_nested_metadata_are_refused(api: Api) -> None:
    for depth in (40, 180, 900, 5_000):
        deep = f'{{"x":{"[" * depth}{"]" * depth}}}'
        content, is_json = f'{{"text":"a","metadata":{deep}}}', {"Content-Type": "application/json"}
        for answer in (
            await api.client.post("/v1/documents", content=content, headers=is_json),
            await api.client.post("/v1/documents", files=[("files", ("a.txt", b"x"))], data={"metadata": deep}),
            await api.client.patch("/v1/documents/d", content=f'{{"metadata":{deep}}}', headers=is_json),
        ):
            assert answer.status_code in (400, 422), answer.text
    await no_trace(api)


async def test_a_body_without_a_length_is_counted_while_it_is_read(api: Api) -> None:
    async def endless() -> Any:
        yield b'{"text":"'
        for _ in range(100):
            yield b"a" * LIMITS.max_body_bytes
        raise AssertionError("read far beyond the limit")

    answer = await api.client.post("/v1/documents", content=endless(), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "document_too_large")
    await no_trace(api)


async def test_other_content_types_are_named(api: Api) -> None:
    answer = await api.client.post("/v1/documents", content=b"<x/>", headers={"Content-Type": "text/xml"})
    assert answer.status_code == 415
    assert "text/xml" in answer.json()["detail"]
    await no_trace(api)


async def test_a_job_of_another_tenant_is_not_found(api: Api) -> None:
    accepted = (await api.client.post("/v1/documents", json={"text": "a"})).json()
    await api.stores.tenants.ensure("other")
    key, _ = await api.stores.keys.create_key("other", "k", role="admin")
    answer = await api.client.get(f"/v1/jobs/{accepted['job_id']}", headers={"Authorization": f"Bearer {key}"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_a_document_of_another_user_is_refused_and_its_bytes_are_dropped(api: Api) -> None:
    first = {"id": "d", "text": "a", "user": "u1"}
    assert (await api.client.post("/v1/documents", json=first)).status_code == 202
    kept = api.stored_files()
    refused = await api.client.post("/v1/documents", json=first | {"user": "u2", "text": "a"})
    assert refused.status_code == 422, refused.text
    assert api.stored_files() == kept


async def test_deleting_a_document_takes_its_passages_its_row_and_its_bytes(api: Api) -> None:
    assert (await api.client.post("/v1/documents", json={"id": "a/b", "text": "a"})).status_code == 202
    assert (await api.client.delete("/v1/documents/a/b")).status_code == 204
    assert set(api.stages.deleted) == {("t", "a/b")}
    assert api.stored_files() == []
    assert await api.stores.jobs.queue.claim("w", lease_s=30, limit=10) == []
    again = await api.client.delete("/v1/documents/a/b")
    assert (again.status_code, again.json()["code"]) == (404, "not_found")


async def test_a_deletion_stands_when_the_index_is_down(api: Api) -> None:
    assert (await api.client.post("/v1/documents", json={"id": "d", "text": "a"})).status_code == 202
    [task] = await api.stores.jobs.queue.claim("w", lease_s=30, limit=10)
    await api.stores.jobs.queue.finish(task, IndexedDocument("", "hr", 1, {}))
    api.stages.failures["delete"] = StageUnavailable("retrieval is gone")
    assert (await api.client.delete("/v1/documents/d")).status_code == 204
    [left] = await api.stores.jobs.queue.list_removable(10)
    assert left.version == task.version, "ingestion removes what is left"
    assert await api.stores.jobs.queue.list_removable_blobs(10) == [RemovedBlob("t", task.blob)]
    assert (await api.client.delete("/v1/documents/d")).status_code == 404


async def test_the_same_document_again_is_no_work_and_leaves_no_second_copy(api: Api) -> None:
    body = {"id": "d", "text": "a"}
    await api.client.post("/v1/documents", json=body)
    [task] = await api.stores.jobs.queue.claim("w", lease_s=30, limit=10)
    await api.stores.jobs.queue.finish(task, IndexedDocument("", "hr", 1, {}))
    again = await api.client.post("/v1/documents", json=body)
    job = (await api.client.get(again.headers["location"])).json()
    assert job["counts"]["indexed"] == 1
    assert len(api.stored_files()) == 1


async def index(api: Api, **body: Any) -> DocumentTask:
    """Hand a document in, and index it as three passages."""
    assert (await api.client.post("/v1/documents", json=body)).status_code == 202
    [task] = await api.stores.jobs.queue.claim("w", lease_s=30, limit=1)
    await api.stores.jobs.queue.finish(task, IndexedDocument(body.get("title", ""), "hr", 3, {}))
    store = functools.partial(replace, passage(1), document_id=task.document_id, version=task.version)
    api.stages.stored += [store(id=f"{task.document_id}-{n}", position=n, metadata={"n": n}) for n in range(3)]
    return task


async def listed(api: Api, **params: Any) -> list[str]:
    answer = await api.client.get("/v1/documents", params=params)
    assert answer.status_code == 200, answer.text
    return [each["id"] for each in answer.json()["documents"]]


async def test_a_document_is_shown_alone_and_in_the_list(api: Api) -> None:
    body = {"id": "nn/30-18", "title": "Zakon", "collection": "zakoni", "user": "u1", "metadata": {"year": 2018}}
    task = await index(api, text="a", **body)
    shown = (await api.client.get("/v1/documents/nn/30-18")).json()
    assert {key: shown[key] for key in body} == body
    assert (shown["language"], shown["live"], shown["passages"], shown["size"]) == ("hr", True, 3, 1)
    assert (shown["version"], shown["sha256"]) == (task.version, hashlib.sha256(b"a").hexdigest())
    [row] = (await api.client.get("/v1/documents")).json()["documents"]
    assert row == {key: value for key, value in shown.items() if key not in ("version", "sha256")}
    missing = await api.client.get("/v1/documents/nn")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


async def test_a_document_that_is_not_indexed_yet_is_shown_as_it_was_handed_in(api: Api) -> None:
    await api.client.post("/v1/documents", json={"id": "d", "text": "a"})
    shown = (await api.client.get("/v1/documents/d")).json()
    assert (shown["live"], shown["version"], shown["language"], shown["passages"]) == (False, None, None, 0)
    assert (await api.client.get("/v1/documents/d/chunks")).json() == {"chunks": [], "next": None}


async def test_documents_are_listed_by_what_is_asked(api: Api) -> None:
    await index(api, id="a", text="a", collection="zakoni", metadata={"year": 2018})
    await index(api, id="b", text="b", user="u1", metadata={"year": 2020})
    await api.client.post("/v1/documents", json={"id": "c", "text": "c", "metadata": {"year": 2020}})
    assert await listed(api) == ["a", "b", "c"]
    assert await listed(api, collection="zakoni") == ["a"]
    assert await listed(api, user="u1") == ["b"]
    assert await listed(api, user="") == ["a", "c"]
    assert await listed(api, live=False) == ["c"]
    assert await listed(api, filter="metadata.year > 2018 and not document_id == 'c'") == ["b"]
    first = (await api.client.get("/v1/documents", params={"limit": 2})).json()
    assert first["next"] == "b"
    assert await listed(api, limit=2, after="b") == ["c"]
    for params, status, code in (
        ({"collection": "nema"}, 404, "unknown_collection"),
        ({"filter": "metadata.year >"}, 422, "invalid_filter"),
        ({"limit": LIMITS.max_page + 1}, 422, "invalid_request"),
    ):
        answer = await api.client.get("/v1/documents", params=params)
        assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_page_with_a_filter_ends_where_it_has_looked_at_enough(api: Api) -> None:
    for name in "abcde":
        await index(api, id=name, text=name)
    narrow = api.services_with(max_scanned=2)
    caller = Access(await narrow.tenants.active("t"), "admin", "k")
    page = await narrow.documents.list(caller, DocumentSelection(filter="document_id == 'd'"), after="", limit=5)
    assert (page.rows, page.next) == ([], "b")


async def test_chunks_come_in_the_document_s_order_and_in_pages(api: Api) -> None:
    await index(api, id="d", text="a")
    first = (await api.client.get("/v1/documents/d/chunks", params={"limit": 2})).json()
    assert [each["position"] for each in first["chunks"]] == [0, 1]
    assert first["chunks"][1] == {"id": "d-1", "position": 1, "text": passage(1).text, "metadata": {"n": 1}}
    rest = (await api.client.get("/v1/documents/d/chunks", params={"limit": 2, "after": first["next"]})).json()
    assert ([each["position"] for each in rest["chunks"]], rest["next"]) == ([2], None)
    whole = (await api.client.get("/v1/documents/d/chunks", params={"limit": 3})).json()
    assert (len(whole["chunks"]), whole["next"]) == (3, None)


async def test_only_the_live_version_s_chunks_are_shown(api: Api) -> None:
    await index(api, id="d", text="a")
    newer = await index(api, id="d", text="b")
    shown = (await api.client.get("/v1/documents/d/chunks")).json()["chunks"]
    assert len(shown) == 3
    api.stages.stored = [each for each in api.stages.stored if each.version == newer.version]
    assert (await api.client.get("/v1/documents/d/chunks")).json()["chunks"] == shown


async def test_an_id_that_ends_as_a_route_does_is_in_nobody_s_way(api: Api) -> None:
    await index(api, id="a/chunks", text="a")
    assert (await api.client.get("/v1/documents/a/chunks")).status_code == 404, "these are the chunks of `a`"
    assert len((await api.client.get("/v1/documents/a/chunks/chunks")).json()["chunks"]) == 3
    assert await listed(api, filter="document_id == 'a/chunks'") == ["a/chunks"]
    assert (await api.client.delete("/v1/documents/a/chunks")).status_code == 204
    assert await listed(api) == []


@pytest.mark.parametrize("path", ["/v1/documents", "/v1/documents/d", "/v1/documents/d/chunks"])
async def test_what_is_everybody_s_is_shown_to_admins_of_the_tenant_only(api: Api, path: str) -> None:
    await index(api, id="d", text="a", user="u1")
    assert (await api.client.get(path, headers=await api.key("query"))).status_code == 403
    platform = await api.key("platform")
    assert (await api.client.get(path, headers=platform | {"X-Tenant-ID": "t"})).status_code == 200
    await api.stores.tenants.ensure("other")
    theirs = await api.client.get(path, headers=await api.key("admin", "other"))
    assert theirs.json()["documents"] == [] if path == "/v1/documents" else theirs.status_code == 404


async def test_chunks_of_an_index_that_does_not_answer(api: Api) -> None:
    await index(api, id="d", text="a")
    api.stages.failures["read"] = StageUnavailable("retrieval is gone")
    answer = await api.client.get("/v1/documents/d/chunks")
    assert (answer.status_code, answer.json()["code"]) == (503, "stage_unavailable")


async def test_metadata_is_patched_and_the_passages_with_it(api: Api) -> None:
    task = await index(api, id="a/b", text="a", metadata={"year": 2018, "draft": True, "by": {"x": 1, "y": 2}})
    before = (await api.client.get("/v1/documents/a/b")).json()
    change = {"year": 2019, "draft": None, "by": {"x": None}, "new": "č"}
    answer = await api.client.patch("/v1/documents/a/b", json={"metadata": change})
    assert answer.status_code == 200, answer.text
    changed = answer.json()
    assert changed["metadata"] == {"year": 2019, "by": {"y": 2}, "new": "č"}
    assert changed["updated_at"] > before["updated_at"]
    same = {key: value for key, value in before.items() if key not in ("metadata", "updated_at", "version")}
    assert same.items() <= changed.items()
    assert (await api.client.get("/v1/documents/a/b")).json() == changed
    chunks = (await api.client.get("/v1/documents/a/b/chunks")).json()["chunks"]
    assert [each["metadata"] for each in chunks] == [changed["metadata"]] * 3
    hidden = (await Visibility(api.stores.documents.database).visible_versions("t")).hidden
    assert hidden == (task.version,), "searches find the new version instead of the old one"
    assert len(api.stored_files()) == 1


async def test_a_patch_that_changes_nothing_writes_nothing(api: Api) -> None:
    await index(api, id="d", text="a", metadata={"year": 2018})
    before = (await api.client.get("/v1/documents/d")).json()
    for change in ({}, {"year": 2018}, {"other": None}):
        assert (await api.client.patch("/v1/documents/d", json={"metadata": change})).json() == before
    assert "copy" not in api.stages.asked


async def test_the_original_handed_in_after_a_patch_is_real_work(api: Api) -> None:
    body = {"id": "d", "text": "a", "metadata": {"year": 2018}}
    await index(api, **body)
    await api.client.patch("/v1/documents/d", json={"metadata": {"year": 2019}})
    await index(api, **body)
    assert (await api.client.get("/v1/documents/d")).json()["metadata"] == {"year": 2018}


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({}, "metadata"),
        ({"metadata": [1]}, "metadata"),
        ({"metadata": {"k": "x" * 16_384}}, "metadata"),
        ({"metadata": {"k": "a\x00"}}, "metadata"),
        ({"metadata": {"": 1}}, "metadata"),
        ({"metadata": {}, "title": "t"}, "title"),
    ],
)
async def test_a_patch_outside_the_rules_is_refused(api: Api, body: dict[str, Any], names: str) -> None:
    await index(api, id="d", text="a")
    answer = await api.client.patch("/v1/documents/d", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert names in answer.json()["detail"]
    assert (await Visibility(api.stores.documents.database).visible_versions("t")).hidden == ()


async def test_a_document_that_cannot_be_patched_yet_or_by_this_key(api: Api) -> None:
    await api.client.post("/v1/documents", json={"id": "d", "text": "a"})
    change = {"metadata": {"year": 2019}}
    waiting = await api.client.patch("/v1/documents/d", json=change)
    assert (waiting.status_code, waiting.json()["code"]) == (409, "conflict")
    assert (await api.client.patch("/v1/documents/e", json=change)).status_code == 404
    await api.stores.tenants.ensure("other")
    for headers, status in ((await api.key("query"), 403), (await api.key("admin", "other"), 404)):
        assert (await api.client.patch("/v1/documents/d", json=change, headers=headers)).status_code == status


async def test_a_document_deleted_while_it_is_patched_does_not_come_back(api: Api) -> None:
    task = await index(api, id="d", text="a")
    api.stages.delays["copy"] = 0.3
    patching = asyncio.create_task(api.client.patch("/v1/documents/d", json={"metadata": {"year": 2019}}))
    while "copy" not in api.stages.asked:  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.01)
    assert (await api.client.delete("/v1/documents/d")).status_code == 204
    assert (await patching).status_code == 404
    assert {each.version for each in api.stages.stored} <= {task.version}
    assert await listed(api) == []


async def test_a_document_replaced_while_it_is_patched_keeps_its_newer_version(api: Api) -> None:
    await index(api, id="d", text="a")
    api.stages.delays["copy"] = 0.3
    patching = asyncio.create_task(api.client.patch("/v1/documents/d", json={"metadata": {"year": 2019}}))
    while "copy" not in api.stages.asked:  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.01)
    newer = await index(api, id="d", text="b", metadata={"year": 2020})
    answer = await patching
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    shown = (await api.client.get("/v1/documents/d")).json()
    assert (shown["version"], shown["metadata"]) == (newer.version, {"year": 2020})


async def test_a_patch_that_breaks_off_leaves_the_document_as_it_was_and_nothing_to_be_found(api: Api) -> None:
    task = await index(api, id="d", text="a")
    api.stages.failures["copy"] = StageUnavailable("retrieval is gone")
    answer = await api.client.patch("/v1/documents/d", json={"metadata": {"year": 2019}})
    assert answer.status_code == 503
    assert (await api.client.get("/v1/documents/d")).json()["version"] == task.version
    [hidden] = (await Visibility(api.stores.documents.database).visible_versions("t")).hidden
    assert hidden != task.version
    del api.stages.failures["copy"]
    assert (await api.client.patch("/v1/documents/d", json={"metadata": {"year": 2019}})).status_code == 200


async def test_an_index_that_lacks_passages_is_not_made_the_truth(api: Api) -> None:
    task = await index(api, id="d", text="a")
    api.stages.stored.pop()
    answer = await api.client.patch("/v1/documents/d", json={"metadata": {"year": 2019}})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert (await api.client.get("/v1/documents/d")).json()["version"] == task.version
    assert {each.version for each in api.stages.stored} == {task.version}


async def erase(api: Api, **body: Any) -> dict[str, Any]:
    answer = await api.client.post("/v1/documents/delete", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_documents_are_deleted_by_what_is_asked(api: Api) -> None:
    await index(api, id="a", text="a", collection="zakoni", metadata={"year": 2018})
    await index(api, id="b", text="b", collection="zakoni", metadata={"year": 2020})
    await index(api, id="c", text="c", user="u1", metadata={"year": 2018})
    await index(api, id="d", text="d", metadata={"year": 2018})
    await api.client.post("/v1/documents", json={"id": "e", "text": "e", "user": "u1"})
    assert await erase(api, filter="metadata.year == 2018", collection="zakoni") == {"deleted": 1, "more": False}
    assert await listed(api) == ["b", "c", "d", "e"]
    assert await erase(api, user="u1") == {"deleted": 2, "more": False}
    assert await erase(api, filter="metadata.year >= 2018", live=False) == {"deleted": 0, "more": False}
    assert await listed(api) == ["b", "d"]
    assert {each.document_id for each in api.stages.stored} == {"b", "d"}
    assert len(api.stored_files()) == 2
    assert (await Visibility(api.stores.documents.database).visible_versions("t")).hidden == ()
    assert await api.stores.jobs.queue.claim("w", lease_s=30, limit=10) == []
    assert await erase(api, user="", all=True) == {"deleted": 2, "more": False}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"live": True},
        {"collection": None},
        {"user": ""},
        {"user": "", "live": True},
        {"user": "", "all": False},
        {"user": "", "filter": ""},
    ],
)
async def test_not_saying_which_documents_is_not_saying_all(api: Api, body: dict[str, Any]) -> None:
    await index(api, id="a", text="a")
    answer = await api.client.post("/v1/documents/delete", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert await listed(api) == ["a"]
    for wrong, code in (({"collection": "nema"}, "unknown_collection"), ({"filter": "year"}, "invalid_filter")):
        assert (await api.client.post("/v1/documents/delete", json=wrong)).json()["code"] == code


async def test_an_empty_user_is_named_in_the_refusal(api: Api) -> None:
    await index(api, id="a", text="a")
    answer = await api.client.post("/v1/documents/delete", json={"user": ""})
    assert "an empty user stands for all shared documents" in answer.json()["detail"]
    assert await erase(api, user="", collection="default") == {"deleted": 1, "more": False}


async def test_all_documents_are_deleted_where_the_body_says_so(api: Api) -> None:
    await index(api, id="a", text="a", collection="zakoni")
    await index(api, id="b", text="b", user="u1")
    assert await erase(api, all=True) == {"deleted": 2, "more": False}
    assert await listed(api) == []


async def test_a_file_in_a_folder_is_another_than_one_in_a_collection(api: Api) -> None:
    async def upload(name: str, text: str, **fields: str) -> str:
        answer = await api.client.post("/v1/documents", files=[("files", (name, text.encode()))], data=fields)
        assert answer.status_code == 202, answer.text
        id: str = answer.json()["document_id"]
        return id

    in_folder = await upload("b/c.md", "one", user="a")
    in_collection = await upload("c.md", "two", user="a", collection="b")
    assert (in_folder, in_collection) == ("~a/default/b/c.md", "~a/b/c.md")
    assert await listed(api) == ["~a/b/c.md", "~a/default/b/c.md"]
    assert await upload("b/c.md", "three", user="a") == in_folder


async def test_more_documents_than_one_batch_are_deleted_and_the_deadline_is_kept(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion, "_DELETE_BATCH", 2)
    for number in range(5):
        await index(api, id=f"d{number}", text=str(number))
    late = await api.client.post("/v1/documents/delete", json={"user": "", "all": True}, headers={"X-Deadline-Ms": "1"})
    assert late.json() == {"deleted": 2, "more": True}
    assert await erase(api, user="", all=True) == {"deleted": 3, "more": False}


async def test_documents_that_the_index_cannot_remove_are_found_by_no_search(api: Api) -> None:
    task = await index(api, id="d", text="a")
    api.stages.failures["delete"] = StageUnavailable("retrieval is gone")
    assert await erase(api, user="", all=True) == {"deleted": 1, "more": False}
    assert await listed(api) == []
    assert (await Visibility(api.stores.documents.database).visible_versions("t")).hidden == (task.version,)


async def test_only_admins_of_the_tenant_delete_documents(api: Api) -> None:
    await index(api, id="d", text="a")
    await api.stores.tenants.ensure("other")
    refused = await api.client.post(
        "/v1/documents/delete", json={"user": "", "all": True}, headers=await api.key("query")
    )
    assert refused.status_code == 403
    theirs = await api.key("admin", "other")
    assert (await api.client.post("/v1/documents/delete", json={"user": "", "all": True}, headers=theirs)).json()[
        "deleted"
    ] == 0
    assert await listed(api) == ["d"]
