"""A folder of good, hostile and broken files handed to the whole service: the good ones are found, the others told."""

from __future__ import annotations

from pathlib import Path

import psutil

from tests.support.documents import write_font
from tests.support.hostile import WORD, bad_documents, good_documents
from tests.support.world import world

EVERY = 9
"""The parsers meet all the bad files elsewhere (test_hostile_documents.py); here every ninth goes all the way."""
GROWTH_MB = 1_024
"""Some of the bad ones are read, and hold as much text as a document may; worker and index are in this process both."""


async def test_the_good_files_are_indexed_and_each_of_the_others_says_why_not(tmp_path: Path) -> None:
    font, secret = write_font(tmp_path / "font.ttf"), tmp_path / "secret.txt"
    secret.write_text("nobody may read this")
    good = good_documents(font)
    bad = [*bad_documents(good, font, secret)][::EVERY]
    async with world(tmp_path / "world") as service:
        await service.add_tenant("acme")
        jobs: dict[str, str] = {}
        refused: dict[str, str] = {}
        before = 0
        for name, data in [*((f"good.{extension}", data) for extension, data in good.items()), *bad]:
            if name == bad[0][0]:
                await service.settled("acme", [*jobs.values()][-1])
                before = psutil.Process().memory_info().rss
            answer = await service.call("acme", "POST", "/v1/documents", files=[("files", (name, data))])
            if answer.status_code == 202:
                jobs[name] = answer.json()["job_id"]
            else:
                assert answer.status_code in (413, 415, 422), f"{name}: {answer.text}"
                refused[name] = answer.json()["detail"]
        ended = {name: (await service.settled("acme", job))["documents"][0] for name, job in jobs.items()}
        for name, document in ended.items():
            assert document["state"] in ("indexed", "failed"), name
            if document["state"] == "failed":
                assert document["error"]["code"] != "internal_error", f"{name}: {document}"
                refused[name] = document["error"]["detail"]
        assert len(refused) > 15
        assert all(refused.values())
        assert not [name for name in refused if name.startswith("good.")], refused

        grown = (psutil.Process().memory_info().rss - before) / 2**20
        assert grown < GROWTH_MB
        found = await service.call("acme", "POST", "/v1/search", json={"query": WORD, "top_k": 50})
        names = {each["document_id"] for each in found.raise_for_status().json()["results"]}
        assert {f"good.{extension}" for extension in good} <= names
