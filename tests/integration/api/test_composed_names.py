"""What things are called and compared by is kept in NFC, whichever form a caller sends, whichever way it comes in."""

from __future__ import annotations

import json
import unicodedata
from typing import Any
from urllib.parse import quote

import pytest

from deployments import filters
from deployments.ingestion.base import DocumentTask, IndexedDocument
from tests.integration.api.conftest import Api

ID, TITLE, USER, COLLECTION, KEY, VALUE = "mape/čitaj š.md", "Šume i žita", "đuro č", "žalbe", "općina", "Šibenik"
METADATA = {KEY: VALUE, "popis": [VALUE, {KEY: VALUE}], "godina": 2018}
FILTER = f'metadata.grad == "{VALUE}" and document_id != "{ID}"'


def sent(value: Any) -> Any:
    """The value with each text in it in NFD, as macOS has file names."""
    if isinstance(value, str):
        return unicodedata.normalize("NFD", value)
    if isinstance(value, dict):
        return {sent(key): sent(each) for key, each in value.items()}
    return [sent(each) for each in value] if isinstance(value, list) else value


FIELDS = {"title": TITLE, "user": USER, "collection": COLLECTION}


async def only_task(api: Api) -> DocumentTask:
    [task] = await api.stores.jobs.queue.claim("w", lease_s=30, limit=10)
    return task


async def index(api: Api, **body: Any) -> None:
    assert (await api.client.post("/v1/documents", json=body)).status_code == 202
    await api.stores.jobs.queue.finish(await only_task(api), IndexedDocument("", "hr", 0, {}))


async def run(api: Api, command: str, **params: Any) -> dict[str, Any]:
    """The result of a command, which is the same from both routes of commands."""
    answer = await api.client.post("/v1/commands", json={"id": "c", "command": command, "params": params})
    assert answer.status_code == 200, answer.text
    line = json.loads(answer.text.splitlines()[0])
    assert line["type"] == "result", line
    found: dict[str, Any] = line["data"]
    return found


def check(task: DocumentTask) -> None:
    assert (task.title, task.owner, task.collection) == (TITLE, USER, COLLECTION)
    assert task.metadata == METADATA


async def test_a_document_as_json(api: Api) -> None:
    body = {"id": ID, "text": sent("čitaj"), "metadata": METADATA, **FIELDS}
    answer = await api.client.post("/v1/documents", json=sent(body))
    assert answer.json()["document_id"] == ID
    task = await only_task(api)
    check(task)
    assert task.document_id == ID
    assert await api.stores.blobs.read(task.blob) == sent("čitaj").encode(), "content is kept as it came"


async def test_a_document_as_a_file(api: Api) -> None:
    files = [("files", (sent("čitaj.md"), b"# a"))]
    answer = await api.client.post(
        "/v1/documents", files=files, data=sent({**FIELDS, "metadata": json.dumps(METADATA, ensure_ascii=False)})
    )
    assert answer.status_code == 202, answer.text
    task = await only_task(api)
    check(task)
    assert (task.filename, task.document_id) == ("čitaj.md", f"~{USER}/{COLLECTION}/čitaj.md")
    assert answer.json()["documents"] == [{"id": task.document_id, "filename": "čitaj.md"}]


async def test_a_document_by_its_uri(api: Api) -> None:
    (api.folder / "named").mkdir()
    (api.folder / "named" / sent("čitaj.md")).write_bytes(b"# a")
    uri = f"file://{api.folder}/named/{quote(sent('čitaj.md'))}"
    assert (await api.client.post("/v1/documents", json={"uri": uri})).status_code == 202
    assert (await only_task(api)).filename == "čitaj.md"
    named = {"uri": uri, "filename": sent("žalba.md"), "id": sent(ID)}
    assert (await api.client.post("/v1/documents", json=named)).status_code == 202
    task = await only_task(api)
    assert (task.filename, task.document_id) == ("žalba.md", ID)


async def test_a_document_by_command(api: Api) -> None:
    body = {"id": ID, "text": "a", "metadata": METADATA, **FIELDS}
    accepted = await run(api, "process_documents", documents=[sent(body)])
    assert [each["id"] for each in accepted["documents"]] == [ID]
    check(await only_task(api))


async def test_a_document_is_found_in_either_form(api: Api) -> None:
    await index(api, id=ID, text="a", metadata={KEY: VALUE, "x": 1}, **FIELDS)
    shown = (await api.client.get(f"/v1/documents/{quote(ID)}")).json()
    path = f"/v1/documents/{quote(sent(ID))}"
    assert (await api.client.get(path)).json() == shown
    assert (await api.client.get(f"{path}/chunks")).status_code == 200
    assert (await run(api, "get_document", document_id=sent(ID))) == shown
    chosen = {"collection": COLLECTION, "user": USER, "filter": f'document_id == "{ID}"'}
    for form in (chosen, sent(chosen)):
        assert [each["id"] for each in (await api.client.get("/v1/documents", params=form)).json()["documents"]] == [ID]
        assert [each["id"] for each in (await run(api, "list_documents", **form))["documents"]] == [ID]
    before = {"after": sent(ID[:-1])}
    assert [each["id"] for each in (await api.client.get("/v1/documents", params=before)).json()["documents"]] == [ID]
    patched = await api.client.patch(path, json={"metadata": {sent(KEY): None, "y": sent(VALUE)}})
    assert patched.json()["metadata"] == {"x": 1, "y": VALUE}
    changed = await run(api, "update_document", document_id=sent(ID), metadata={"x": None, sent(KEY): sent(VALUE)})
    assert changed["metadata"] == {"y": VALUE, KEY: VALUE}
    assert (await run(api, "delete_documents", **sent(chosen)))["deleted"] == 1


async def test_a_document_is_deleted_in_either_form(api: Api) -> None:
    await index(api, id=ID, text="a")
    assert (await api.client.delete(f"/v1/documents/{quote(sent(ID))}")).status_code == 204
    await index(api, id=ID, text="a")
    assert await run(api, "delete_document", document_id=sent(ID)) == {"id": ID, "deleted": True}
    await index(api, id=ID, text="a", metadata={KEY: VALUE})
    selection = {"filter": sent(f'document_id == "{ID}"')}
    assert (await api.client.post("/v1/documents/delete", json=selection)).json()["deleted"] == 1


async def test_the_same_document_in_the_other_form_is_no_work(api: Api) -> None:
    body = {"id": ID, "text": "a", "metadata": METADATA, **FIELDS}
    await index(api, **body)
    again = await api.client.post("/v1/documents", json=sent(body))
    assert (await api.client.get(again.headers["location"])).json()["counts"]["indexed"] == 1


@pytest.mark.parametrize("way", ["search", "query", "chat", "search command", "query command", "rpc"])
async def test_a_question_s_scope(api: Api, way: str) -> None:
    await api.client.post("/v1/collections", json={"name": COLLECTION})
    scope = sent({"user": USER, "collections": [COLLECTION], "filter": FILTER})
    body = {"query": "Koji je rok?", **scope}
    match way:
        case "search":
            answer = await api.client.post("/v1/search", json=body)
        case "query":
            answer = await api.client.post("/v1/query", json=body | {"stream": False})
        case "chat":
            chat = {"model": "rag", "messages": [{"role": "user", "content": "Koji je rok?"}], **scope}
            answer = await api.client.post("/v1/chat/completions", json=chat)
        case "rpc":
            call = {"jsonrpc": "2.0", "id": 1, "method": "search", "params": body}
            answer = await api.client.post("/v1/rpc", json=call)
        case command:
            params = {"id": "c", "command": command.removesuffix(" command"), "params": body}
            answer = await api.client.post("/v1/commands", json=params)
    assert answer.status_code == 200, answer.text
    asked = api.stages.retrievals[0].scope
    assert (asked.user_id, asked.collections, asked.filter) == (USER, (COLLECTION,), filters.parse(FILTER))


async def test_a_collection_by_command(api: Api) -> None:
    assert (await run(api, "manage_collections", action="create", name=sent(COLLECTION)))["name"] == COLLECTION
    for action, more in (("get", {}), ("update", {"description": "x"}), ("delete", {})):
        assert (await run(api, "manage_collections", action=action, name=sent(COLLECTION), **more))[
            "name"
        ] == COLLECTION


async def test_a_collection_s_pages_and_its_reindexing(api: Api) -> None:
    await index(api, id="a", text="a", collection=COLLECTION)
    page = (await api.client.get("/v1/collections", params={"after": sent("žalb")})).json()
    assert [each["name"] for each in page["collections"]] == [COLLECTION]
    assert (await api.client.post("/v1/reindex", json={"collection": sent(COLLECTION)})).status_code == 202
    assert (await only_task(api)).collection == COLLECTION


async def test_what_callers_name_their_own_messages_by_comes_back_as_it_was(api: Api) -> None:
    mine = sent("č")
    answer = await api.client.post("/v1/commands", json={"id": mine, "command": "list_documents", "params": {}})
    assert json.loads(answer.text)["id"] == mine


async def test_lengths_are_those_that_are_stored(api: Api) -> None:
    longest = {"id": "č" * 256, "title": "č" * 512, "text": "a"}
    assert (await api.client.post("/v1/documents", json=sent(longest))).status_code == 202
    grows = "\u0958"  # NFC writes it as two characters
    for field, length in (("id", 129), ("title", 257)):
        answer = await api.client.post("/v1/documents", json={"text": "a", field: grows * length})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
        assert f"{field}: " in answer.json()["detail"]
