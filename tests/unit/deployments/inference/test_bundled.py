"""The bundled multilingual-e5-small: unpacked once, whole, and with the tokenizer that its makers used."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from deployments.errors import StageUnavailable
from deployments.inference import bundled, e5_folder
from deployments.inference.bundled import E5, bundled_folder
from deployments.inference.windows import untruncated


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(bundled, "user_cache_path", lambda _name: tmp_path)
    return tmp_path / "models"


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that were filled; each gets one small file."""
    folders: list[Path] = []

    def write(_packed: Path, folder: Path) -> None:
        folders.append(folder)
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(e5_folder, "write", write)
    return folders


@pytest.mark.parametrize("name", [E5, f"intfloat/{E5}"])
def test_it_is_found_by_both_of_its_names(name: str) -> None:
    folder = bundled_folder(name, "embedding.model")
    assert folder is not None
    assert (folder / "model.safetensors").stat().st_size > 200_000_000
    assert bundled_folder("multilingual-e5-large", "embedding.model") is None


def test_it_is_unpacked_once_by_however_many_ask(cache: Path, written: list[Path]) -> None:
    threads = [threading.Thread(target=bundled_folder, args=(E5, "embedding.model")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(written) == 1
    [folder] = [path for path in cache.iterdir() if path.is_dir()]
    assert (folder / "config.json").is_file()


def test_what_cannot_be_unpacked_leaves_nothing(
    cache: Path, written: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_packed: Path, folder: Path) -> None:
        (folder / "half").write_text("")
        raise OSError("no space left on device")

    monkeypatch.setattr(e5_folder, "write", full)
    with pytest.raises(StageUnavailable, match=r"embedding\.model is the bundled .* no space left"):
        bundled_folder(E5, "embedding.model")
    assert [path for path in cache.iterdir() if path.is_dir()] == []


def test_another_file_of_weights_is_refused(cache: Path, written: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "_E5_SHA256", "0" * 64)
    with pytest.raises(StageUnavailable, match="has the sha256 1571fc98"):
        bundled_folder(E5, "embedding.model")
    assert written == []


def test_special_names_in_a_text_are_text_and_both_forms_of_a_letter_are_one() -> None:
    folder = bundled_folder(E5, "embedding.model")
    assert folder is not None
    tokenizer = untruncated((folder / "tokenizer.json").read_text("utf-8"))
    begin, end = tokenizer.token_to_id("<s>"), tokenizer.token_to_id("</s>")
    for name in ("<s>", "</s>", "<pad>", "<unk>", "<mask>"):
        ids = tokenizer.encode(f"a {name} b").ids
        assert (ids[0], ids[-1]) == (begin, end)
        assert not {tokenizer.token_to_id(special) for special in ("<s>", "</s>", "<pad>", "<unk>", "<mask>")} & set(
            ids[1:-1]
        )
    assert tokenizer.encode("Žalba").ids == tokenizer.encode("Z\u030calba").ids
