from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from serve_app.storage.config import BlobConfig, StoreConfig


def test_local_paths_are_made_absolute(tmp_path: Path) -> None:
    store, blobs = StoreConfig(), BlobConfig()
    assert store.embedded
    assert blobs.embedded
    assert store.resolved(tmp_path).path == tmp_path / "rag.db"
    assert blobs.resolved(tmp_path).url == str(tmp_path / "blobs")
    assert StoreConfig(url="sqlite:////data/rag.db").resolved(tmp_path).path == Path("/data/rag.db")


def test_servers_are_left_as_they_are(tmp_path: Path) -> None:
    store, blobs = StoreConfig(url="postgresql://rag@db/rag"), BlobConfig(url="s3://bucket/prefix")
    assert not store.embedded
    assert not blobs.embedded
    assert store.resolved(tmp_path) == store
    assert blobs.resolved(tmp_path) == blobs


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://db/rag", "must begin with"),
        ("rag.db", "must begin with"),
        ("sqlite://", "must name a file"),
        ("sqlite:///", "must name a file"),
        ("sqlite:///:memory:", "must name a file"),
        ("postgresql://rag:secret@db/rag", "must not hold a password"),
    ],
)
def test_a_url_that_cannot_work_is_refused(url: str, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        StoreConfig(url=url)


@pytest.mark.parametrize(
    ("url", "listen_url", "says"),
    [
        ("postgresql://rag@pooler/rag", "db:5432", "listen_url\n.*must begin with postgresql://"),
        ("postgresql://rag@pooler/rag", "postgresql://rag:secret@db/rag", "listen_url\n.*must not hold a password"),
        ("sqlite:///rag.db", "postgresql://rag@db/rag", "listen_url: is for PostgreSQL"),
    ],
)
def test_only_a_postgresql_server_can_be_listened_to(url: str, listen_url: str, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        StoreConfig(url=url, listen_url=listen_url)
