from __future__ import annotations

import socket
from pathlib import Path

import pytest

from deployments.errors import StageUnavailable
from deployments.inference.bundled import E5, MINILM
from deployments.inference.weights import display_name, locate


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Fails every look-up of a host, and records it."""
    asked: list[str] = []

    def refuse(host: str, *_: object, **__: object) -> None:
        asked.append(host)
        raise socket.gaierror(f"no network in this test: {host}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return asked


@pytest.mark.parametrize("name", [MINILM, f"sentence-transformers/{MINILM}"])
def test_the_bundled_model_is_found_by_both_of_its_names(name: str) -> None:
    folder = locate(name, None, "embedding.model")
    assert (folder / "model.safetensors").is_file()


def test_a_local_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    assert locate(str(tmp_path), None, "embedding.model") == tmp_path


def test_a_model_in_the_hub_cache_is_found_without_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: list[str]
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "models--someone--something" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    refs = tmp_path / "models--someone--something" / "refs"
    refs.mkdir()
    (refs / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path))
    assert locate("someone/something", None, "embedding.model") == snapshot
    assert no_network == []


def test_a_model_that_is_not_here_is_not_looked_for_on_the_hub(no_network: list[str]) -> None:
    with pytest.raises(StageUnavailable) as caught:
        locate("someone/no-such-model", "v2", "reranking.model")
    for part in (
        "reranking.model",
        "someone/no-such-model",
        "v2",
        "local model cache",
        "rag models pull",
        E5,
    ):
        assert part in caught.value.message
    assert no_network == []


def test_a_name_that_no_hub_has_is_said_to_be_one() -> None:
    with pytest.raises(StageUnavailable, match=r"embedding\.model '/no/such/folder' is neither a folder"):
        locate("/no/such/folder", None, "embedding.model")


def test_a_folder_is_shown_without_its_path(tmp_path: Path) -> None:
    folder = tmp_path / "our-model"
    folder.mkdir()
    assert display_name(str(folder)) == "our-model"
    assert display_name("BAAI/bge-m3") == "BAAI/bge-m3"
