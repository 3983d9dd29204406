"""The store's benchmark runs: its rows are made by SQL of its own, which must fit the tables as they are."""

from __future__ import annotations

from pathlib import Path

from benchmarks.store import run
from benchmarks.store_rows import Size
from serve_app.storage.config import StoreConfig


async def test_each_operation_is_measured_and_none_fails(tmp_path: Path) -> None:
    size = Size(documents=600, tenants=6, large=200, folder=20)
    entries = await run(StoreConfig(url=f"sqlite:///{tmp_path / 'rag.db'}"), size, calls=4, rate=200, only=())
    assert len(entries) == 17
    assert [entry for entry in entries if entry["failed"]] == []
    assert all(entry["steps"] for entry in entries if not entry["operation"].startswith("sqlite.delete_"))
