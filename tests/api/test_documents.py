from __future__ import annotations

from typing import Any

import pytest

from deployments.errors import StageUnavailable
from deployments.ingestion.base import IndexedDocument
from tests.api.conftest import LIMITS, Api


async def no_trace(api: Api) -> None:
    assert api.stored_files() == []
    assert await api.services.jobs.claim("w", lease_s=30, limit=10) == []
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
    [task] = await api.services.jobs.claim("w", lease_s=30, limit=10)
    assert (task.document_id, task.owner, task.collection, task.language) == ("nn-30-18", "u1", "zakoni", "hr")
    assert task.metadata == {"year": 2018}
    assert (await api.services.blobs.read(task.blob)).decode() == body["text"]
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
    tasks = await api.services.jobs.claim("w", lease_s=30, limit=10)
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
    assert await api.services.jobs.claim("w", lease_s=30, limit=10) == []


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


def named(api: Api, name: str, content: bytes) -> str:
    """The URI of a file that the service may read."""
    (api.folder / "named").mkdir(exist_ok=True)
    (api.folder / "named" / name).write_bytes(content)
    return f"file://{api.folder}/named/{name}"


async def test_a_document_is_fetched_by_its_uri_before_it_is_accepted(api: Api) -> None:
    uri = named(api, "zakon.html", b"<h1>Zakon</h1>")
    first = await api.client.post("/v1/documents", json={"uri": uri, "title": "Zakon", "user": "u1"})
    assert first.status_code == 202, first.text
    [task] = await api.services.jobs.claim("w", lease_s=30, limit=10)
    assert (task.filename, task.title, task.owner) == ("zakon.html", "Zakon", "u1")
    assert await api.services.blobs.read(task.blob) == b"<h1>Zakon</h1>"
    named(api, "zakon.html", b"# Zakon")
    given = {"uri": uri, "filename": "zakon.md", "media_type": "text/markdown", "user": "u1"}
    second = await api.client.post("/v1/documents", json=given)
    other = await api.client.post("/v1/documents", json=given | {"user": "u2"})
    assert second.json()["document_id"] == first.json()["document_id"] == task.document_id
    assert other.json()["document_id"] != task.document_id
    assert {t.filename for t in await api.services.jobs.claim("w", lease_s=30, limit=10)} == {"zakon.md"}


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
    await api.services.tenants.ensure("other")
    key, _ = await api.services.keys.create_key("other", "k", role="admin")
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
    assert await api.services.jobs.claim("w", lease_s=30, limit=10) == []
    again = await api.client.delete("/v1/documents/a/b")
    assert (again.status_code, again.json()["code"]) == (404, "not_found")


async def test_a_deletion_stands_when_the_index_is_down(api: Api) -> None:
    assert (await api.client.post("/v1/documents", json={"id": "d", "text": "a"})).status_code == 202
    [task] = await api.services.jobs.claim("w", lease_s=30, limit=10)
    await api.services.jobs.finish(task, IndexedDocument("", "hr", 1, {}))
    api.stages.failures["delete"] = StageUnavailable("retrieval is gone")
    assert (await api.client.delete("/v1/documents/d")).status_code == 204
    [left] = await api.services.jobs.removable(10)
    assert (left.version, left.blob) == (task.version, task.blob), "ingestion removes what is left"
    assert (await api.client.delete("/v1/documents/d")).status_code == 404


async def test_the_same_document_again_is_no_work_and_leaves_no_second_copy(api: Api) -> None:
    body = {"id": "d", "text": "a"}
    await api.client.post("/v1/documents", json=body)
    [task] = await api.services.jobs.claim("w", lease_s=30, limit=10)
    await api.services.jobs.finish(task, IndexedDocument("", "hr", 1, {}))
    again = await api.client.post("/v1/documents", json=body)
    job = (await api.client.get(again.headers["location"])).json()
    assert job["counts"]["indexed"] == 1
    assert len(api.stored_files()) == 1
