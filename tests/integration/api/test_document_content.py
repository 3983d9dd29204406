"""GET and HEAD /v1/documents/{id}/content: the bytes as they were handed in, whole and in part."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from starlette.types import Message

from deployments.errors import Unavailable
from deployments.ingestion.base import IndexedDocument
from serve_app.api.app import create_app
from serve_app.storage import blobs
from serve_app.storage.blobs import Blobs
from tests.integration.api.conftest import Api
from tests.integration.api.test_documents import index

DIGITS = b"0123456789"


async def hand_in(api: Api, data: bytes, filename: str, media_type: str = "", **fields: str) -> str:
    """The id of an uploaded file, which is not indexed yet."""
    files = [("files", (filename, data, media_type))]
    answer = await api.client.post("/v1/documents", files=files, data=fields)
    assert answer.status_code == 202, answer.text
    document_id: str = answer.json()["document_id"]
    return document_id


async def make_live(api: Api) -> None:
    for task in await api.stores.jobs.queue.claim("w", lease_s=30, limit=10):
        await api.stores.jobs.queue.finish(task, IndexedDocument("", "hr", 1, {}))


async def content(api: Api, document_id: str, method: str = "GET", **request: Any) -> httpx.Response:
    return await api.client.request(method, f"/v1/documents/{quote(document_id, safe='')}/content", **request)


def is_not_found(answer: httpx.Response) -> bool:
    return (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("data", "filename", "sent_as", "media_type", "disposition"),
    [
        ("Članak 1.\r\n".encode(), "zakon.txt", "text/plain", "text/plain; charset=utf-8", "inline"),
        ("Članak 1.".encode("cp1250"), "zakon.txt", "text/plain", "text/plain", "inline"),
        (b"# a\n", "a.md", "application/octet-stream", "text/markdown; charset=utf-8", "inline"),
        (b"%PDF-1.7\n\x00\xff", "a.pdf", "application/pdf", "application/pdf", "inline"),
        (b"<script>alert(1)</script>", "a.html", "text/html", "text/html", "attachment"),
    ],
)
async def test_a_file_comes_back_as_it_was(
    api: Api, data: bytes, filename: str, sent_as: str, media_type: str, disposition: str
) -> None:
    document_id = await hand_in(api, data, filename, sent_as)
    await make_live(api)
    answer = await content(api, document_id)
    assert (answer.status_code, answer.content) == (200, data)
    shown = (await api.client.get(f"/v1/documents/{document_id}")).json()
    assert answer.headers["content-type"] == media_type
    assert answer.headers["content-length"] == str(len(data)) == str(shown["size"])
    assert answer.headers["content-disposition"] == f'{disposition}; filename="{filename}"'
    assert answer.headers["etag"] == f'"{shown["sha256"]}"' == f'"{hashlib.sha256(data).hexdigest()}"'
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "x-request-id" in answer.headers


async def test_a_document_of_json_is_its_text(api: Api) -> None:
    await index(api, id="nn-30-18", text="\ufeff# Zakon o žalbi \r\n\n", title="Zakon")
    answer = await content(api, "nn-30-18")
    assert answer.content == "\ufeff# Zakon o žalbi \r\n\n".encode()
    assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
    assert answer.headers["content-disposition"] == 'inline; filename="nn-30-18.md"'


@pytest.mark.parametrize("id", ["nn/30-18", "~u1/zakoni/Zakon o žalbi.txt", "a/content", "a/chunks", "50%2F?#+ &.md"])
async def test_an_id_may_hold_slashes_and_other_signs(api: Api, id: str) -> None:
    await index(api, id=id, text=id)
    for path in (quote(id, safe=""), quote(id)):
        answer = await api.client.get(f"/v1/documents/{path}/content")
        assert (answer.status_code, answer.text) == (200, id)


async def test_a_document_is_read_as_searches_see_it(api: Api) -> None:
    """Before a version is live, it is what was handed in last. A newer one counts once it is live."""
    await hand_in(api, b"first", "a.txt", id="d")
    await hand_in(api, b"second", "a.txt", id="d")
    assert (await content(api, "d")).content == b"second"
    [first] = await api.stores.jobs.queue.claim("w", lease_s=30, limit=10)
    await api.stores.jobs.queue.finish(first, IndexedDocument("", "hr", 1, {}))
    assert (await content(api, "d")).content == b"first"
    [second] = await api.stores.jobs.queue.claim("w", lease_s=30, limit=10)
    assert (await content(api, "d")).content == b"first"
    await api.stores.jobs.queue.finish(second, IndexedDocument("", "hr", 1, {}))
    assert (await content(api, "d")).content == b"second"


async def test_a_version_that_failed_leaves_the_live_one(api: Api) -> None:
    await index(api, id="d", text="live")
    await hand_in(api, b"broken", "a.txt", id="d")
    [task] = await api.stores.jobs.queue.claim("w", lease_s=30, limit=10)
    await api.stores.jobs.queue.fail(task, "broken_document", "it is broken")
    assert (await content(api, "d")).content == b"live"


async def test_a_patch_of_metadata_changes_no_byte(api: Api) -> None:
    await index(api, id="d", text="a", metadata={"year": 2018})
    before = await content(api, "d")
    assert (await api.client.patch("/v1/documents/d", json={"metadata": {"year": 2019}})).status_code == 200
    after = await content(api, "d", headers={"If-None-Match": before.headers["etag"]})
    assert after.status_code == 304


@pytest.mark.parametrize(
    ("range", "content_range", "part"),
    [
        ("bytes=0-0", "bytes 0-0/10", b"0"),
        ("bytes=3-5", "bytes 3-5/10", b"345"),
        ("bytes=8-", "bytes 8-9/10", b"89"),
        ("bytes=8-99", "bytes 8-9/10", b"89"),
        ("bytes=-3", "bytes 7-9/10", b"789"),
        ("bytes=0-", "bytes 0-9/10", DIGITS),
    ],
)
async def test_a_part_is_sent_alone(api: Api, range: str, content_range: str, part: bytes) -> None:
    await hand_in(api, DIGITS, "a.txt", id="d")
    answer = await content(api, "d", headers={"Range": range})
    assert (answer.status_code, answer.headers["content-range"], answer.content) == (206, content_range, part)
    assert answer.headers["content-length"] == str(len(part))
    whole = await content(api, "d")
    for name in ("etag", "content-type", "content-disposition", "content-security-policy", "x-content-type-options"):
        assert answer.headers[name] == whole.headers[name]


@pytest.mark.parametrize("range", ["bytes=10-", "bytes=-0"])
async def test_a_part_that_is_not_there_is_refused_with_the_size(api: Api, range: str) -> None:
    await hand_in(api, DIGITS, "a.txt", id="d")
    answer = await content(api, "d", headers={"Range": range})
    assert (answer.status_code, answer.json()["code"]) == (416, "range_not_satisfiable")
    assert answer.headers["content-range"] == "bytes */10"
    assert "bytes=0-9" in answer.json()["detail"]


@pytest.mark.parametrize("range", ["bytes=0-1,4-5", "lines=0-1", "bytes=5-3"])
async def test_any_other_range_is_answered_with_all(api: Api, range: str) -> None:
    await hand_in(api, DIGITS, "a.txt", id="d")
    answer = await content(api, "d", headers={"Range": range})
    assert (answer.status_code, answer.content) == (200, DIGITS)
    assert "content-range" not in answer.headers


async def test_a_download_that_goes_on_with_another_version_begins_again(api: Api) -> None:
    await index(api, id="d", text="0123456789")
    first = await content(api, "d", headers={"Range": "bytes=0-4"})
    same = {"If-Range": first.headers["etag"]}
    second = await content(api, "d", headers=same | {"Range": "bytes=5-"})
    assert (second.status_code, first.text + second.text) == (206, "0123456789")
    await index(api, id="d", text="abc")
    for asked in ("bytes=5-", "bytes=1-"):
        changed = await content(api, "d", headers=same | {"Range": asked})
        assert (changed.status_code, changed.text) == (200, "abc")
        assert changed.headers["etag"] != first.headers["etag"]


async def test_bytes_that_the_client_has_are_not_sent(api: Api) -> None:
    await hand_in(api, DIGITS, "a.txt", id="d")
    etag = (await content(api, "d")).headers["etag"]
    for method in ("GET", "HEAD"):
        for headers in ({"If-None-Match": etag}, {"If-None-Match": f'W/{etag}, "x"', "Range": "bytes=99-"}):
            answer = await content(api, "d", method, headers=headers)
            assert (answer.status_code, answer.content) == (304, b"")
            assert (answer.headers["etag"], answer.headers["cache-control"]) == (etag, "private, no-cache")
            assert "content-type" not in answer.headers
    assert (await content(api, "d", headers={"If-None-Match": '"x"'})).content == DIGITS


async def test_head_is_get_without_the_bytes(api: Api) -> None:
    await hand_in(api, "Žalba".encode(), "Žalba.html", "text/html", id="d")
    head = await content(api, "d", "HEAD", headers={"Range": "bytes=0-1", "X-Request-ID": "r"})
    whole = await content(api, "d", headers={"X-Request-ID": "r"})
    assert (head.status_code, head.content) == (200, b"")
    assert {*head.headers} == {*whole.headers}
    assert [name for name in head.headers if head.headers[name] != whole.headers[name]] == ["traceparent"]


async def test_head_is_refused_like_get(api: Api) -> None:
    await index(api, id="d", text="a")
    await api.stores.tenants.ensure("other")
    for headers, status in (
        ({"Authorization": ""}, 401),
        ({"Authorization": "Bearer rag_wrong"}, 401),
        (await api.key("query"), 403),
        (await api.key("admin", "other"), 404),
        (await api.key("platform"), 422),
        (await api.key("platform") | {"X-Tenant-ID": "t"}, 200),
    ):
        for method in ("GET", "HEAD"):
            assert (await content(api, "d", method, headers=headers)).status_code == status


async def test_a_private_document_is_its_user_s(api: Api) -> None:
    await index(api, id="mine", text="tajna", user="u1")
    await index(api, id="all", text="svima")
    for below in ("", "/chunks", "/content"):
        for id, user, status in [
            ("mine", "u1", 200),
            ("mine", "u2", 404),
            ("mine", "", 404),
            ("all", "u1", 200),
            ("all", "", 200),
        ]:
            answer = await api.client.get(f"/v1/documents/{id}{below}", params={"user": user})
            assert answer.status_code == status, (id, user, below)
        unknown = await api.client.get(f"/v1/documents/none{below}", params={"user": "u2"})
        hidden = await api.client.get(f"/v1/documents/mine{below}", params={"user": "u2"})
        assert is_not_found(hidden)
        assert hidden.json()["detail"] == unknown.json()["detail"].replace("none", "mine"), "nothing tells them apart"
        assert (await api.client.get(f"/v1/documents/mine{below}")).status_code == 200, "an admin sees all"
    assert (await content(api, "mine", "HEAD", params={"user": "u2"})).status_code == 404


async def test_a_document_is_its_tenant_s(api: Api) -> None:
    await index(api, id="d", text="a")
    etag = (await content(api, "d")).headers["etag"]
    await api.stores.tenants.ensure("other")
    theirs = await api.key("admin", "other")
    for headers in ({}, {"If-None-Match": etag}, {"If-None-Match": "*"}, {"Range": "bytes=99-"}):
        assert is_not_found(await content(api, "d", headers=theirs | headers))
        assert (await content(api, "d", "HEAD", headers=theirs | headers)).status_code == 404
    as_other = await api.key("platform") | {"X-Tenant-ID": "other"}
    assert is_not_found(await content(api, "d", headers=as_other))
    assert (await content(api, "d", headers=as_other | {"X-Tenant-ID": "t"})).text == "a"


async def test_nothing_is_read_of_a_document_that_was_deleted(api: Api) -> None:
    await index(api, id="d", text="a")
    etag = (await content(api, "d")).headers["etag"]
    assert (await api.client.delete("/v1/documents/d")).status_code == 204
    for headers in ({}, {"If-None-Match": etag}, {"If-None-Match": "*"}):
        assert is_not_found(await content(api, "d", headers=headers))


async def test_bytes_that_are_gone_are_not_found_and_the_answer_says_what_to_do(api: Api) -> None:
    """As those of a document whose first version failed, some minutes later."""
    await hand_in(api, DIGITS, "a.txt", id="d")
    await api.stores.blobs.delete((await api.stores.documents.get("t", "d")).blob)
    answer = await content(api, "d")
    assert is_not_found(answer)
    assert "hand it in again" in answer.json()["detail"]
    assert (await content(api, "d", "HEAD")).status_code == 404


async def test_a_blob_store_that_is_away_is_an_error_to_try_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await hand_in(api, DIGITS, "a.txt", id="d")

    async def away(*_: object) -> bytes:
        raise Unavailable("the blob store failed")

    monkeypatch.setattr(Blobs, "read", away)
    answer = await content(api, "d")
    assert (answer.status_code, answer.json()["retryable"]) == (503, True)


class Download:
    """A request whose client takes a message of the answer only when a test says so."""

    def __init__(self, api: Api, document_id: str) -> None:
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self._taken = asyncio.Semaphore(0)
        self._gone = asyncio.Event()
        path = f"/v1/documents/{document_id}/content"
        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(b"authorization", api.client.headers["authorization"].encode())],
        }
        app: Callable[..., Awaitable[None]] = create_app(api.services)
        self.task = asyncio.ensure_future(app(scope, self._receive, self._send))
        self._has_body = True

    async def _receive(self) -> Message:
        if self._has_body:
            self._has_body = False
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self.messages.put_nowait(message)
        await self._taken.acquire()

    async def next(self) -> Message:
        """The next message, which the client has not taken yet."""
        return await self.messages.get()

    def go_on(self) -> None:
        self._taken.release()

    async def take(self) -> Message:
        message = await self.next()
        self.go_on()
        return message

    async def hang_up(self) -> None:
        self._gone.set()
        await self.task


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all reads of blobs. A piece of a stream has 1,000 bytes."""
    found: list[int] = []
    read = Blobs._read

    def noted(store: Blobs, key: str, start: int, stop: int | None) -> bytes:
        data = read(store, key, start, stop)
        found.append(len(data))
        return data

    monkeypatch.setattr(blobs, "_STEP_BYTES", 1_000)
    monkeypatch.setattr("serve_app.services.documents.HEAD_BYTES", 100)
    monkeypatch.setattr(Blobs, "_read", noted)
    return found


async def test_bytes_are_read_as_the_client_takes_them(api: Api, reads: list[int]) -> None:
    data = bytes(range(250)) * 100
    await hand_in(api, b"text: " + data.hex().encode()[:20_000], "a.txt", id="d")
    download = Download(api, "d")
    start = await download.take()
    assert (start["type"], start["status"]) == ("http.response.start", 200)
    received = b""
    for piece in range(1, 21):
        message = await download.next()
        assert reads == [100] + [1_000] * piece, "the client has not taken this piece yet"
        assert len(message["body"]) == 1_000
        received += message["body"]
        download.go_on()
    while (message := await download.take())["more_body"]:
        received += message["body"]
    await download.task
    assert hashlib.sha256(received).hexdigest() == (await api.stores.documents.get("t", "d")).content_hash


async def test_nothing_more_is_read_for_a_client_that_has_hung_up(api: Api, reads: list[int]) -> None:
    await hand_in(api, b"a" * 20_000, "a.txt", id="d")
    download = Download(api, "d")
    for _ in range(3):
        await download.take()
    await download.hang_up()
    assert len(reads) <= 5


async def test_a_download_of_a_document_that_is_deleted_breaks_off(api: Api, reads: list[int]) -> None:
    await hand_in(api, b"a" * 20_000, "a.txt", id="d")
    download = Download(api, "d")
    for _ in range(3):
        await download.take()
    await download.next()
    assert (await api.client.delete("/v1/documents/d")).status_code == 204
    download.go_on()
    with pytest.raises(RuntimeError, match="response already started"):
        await download.task
    rest = [download.messages.get_nowait() for _ in range(download.messages.qsize())]
    assert all(message["more_body"] for message in rest), "the client must not take it for whole"


async def test_a_download_that_is_overtaken_by_another_version_is_of_one_version(api: Api, reads: list[int]) -> None:
    await index(api, id="d", text="a" * 5_000)
    download = Download(api, "d")
    await download.take()
    received = (await download.take())["body"]
    await index(api, id="d", text="b" * 5_000)
    while (message := await download.take())["more_body"]:
        received += message["body"]
    await download.task
    assert received == b"a" * 5_000
