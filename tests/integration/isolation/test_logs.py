"""Logs hold ids, codes and numbers: no question, no answer, no document's text."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from deployments.errors import StageUnavailable
from tests.support.world import world

SECRET = "povjerljivoslovo"
DOCUMENT = {"id": "d", "title": f"Naslov {SECRET}", "text": f"Rok za žalbu je 15 dana. {SECRET}."}


async def test_neither_logs_nor_log_tables_hold_content(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    async with world(tmp_path, index="fake") as service:
        await service.add_tenant("t")
        await service.put("t", **DOCUMENT)
        question: dict[str, Any] = {"query": f"Koji je rok, {SECRET}?", "stream": False}
        assert SECRET in (await service.call("t", "POST", "/v1/query", json=question)).text
        await service.call("t", "POST", "/v1/query", json={**question, "stream": True})
        await service.call("t", "POST", "/v1/query", json={**question, "collections": [SECRET]})
        await service.call("t", "POST", "/v1/documents", json={**DOCUMENT, "collection": "a/b"})

        async def fails(request: object) -> None:
            raise StageUnavailable("retrieval is away")

        async def breaks(request: object) -> None:
            raise ZeroDivisionError

        for failure in (fails, breaks):
            monkeypatch.setattr(service.stages.retrieval, "search", failure)
            with suppress(ZeroDivisionError):  # a server logs it, answers 500 and raises it
                await service.call("t", "POST", "/v1/query", json={**question, "stream": True})
        await service.stores.events.drain()
        async with service.stores.tenants.database.session() as session:
            for table in ("audit_log", "query_log", "daily_usage"):
                rows = (await session.execute(text(f"SELECT * FROM {table}"))).all()
                assert rows
                assert SECRET not in str(rows), table
    ours = [each for each in caplog.records if each.name.startswith(("serve_app", "deployments"))]
    assert [each for each in ours if each.levelno >= logging.ERROR], "the failures above are logged"
    formatted = [logging.Formatter("%(message)s").format(each) for each in caplog.records if each.name != "aiosqlite"]
    assert SECRET not in "\n".join(formatted)
