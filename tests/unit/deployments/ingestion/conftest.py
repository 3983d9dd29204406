from __future__ import annotations

from pathlib import Path

import pytest

from deployments.ingestion.base import DocumentTask
from tests.support.documents import write_font


@pytest.fixture(scope="session")
def font(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_font(tmp_path_factory.mktemp("font") / "boxes.ttf")


@pytest.fixture
def task() -> DocumentTask:
    return DocumentTask(
        job_id="job",
        tenant_id="tenant",
        document_id="doc",
        version="v1",
        owner="",
        collection="zakoni",
        language=None,
        title="",
        filename="zakon.txt",
        media_type="text/plain",
        blob="blob",
        metadata={"year": 2024},
    )
