from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from huggingface_hub import errors

from rag.cli import models
from serve_app.config.args import AppArgs
from serve_app.config.file import load

ROOT = Path(__file__).parents[4]


@pytest.fixture(name="hub")
def _hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """What was asked of the hub; it has everything."""
    asked: list[tuple[str, str | None]] = []

    def snapshot_download(model: str, *, revision: str | None, ignore_patterns: list[str]) -> str:
        assert "*.gguf" in ignore_patterns
        asked.append((model, revision))
        return f"/cache/{model}"

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    return asked


def test_the_local_config_needs_only_the_language_model(rag: Any, hub: list[tuple[str, str | None]]) -> None:
    result = rag("models", "pull", url=None)
    assert result.exit_code == 0, result.output
    assert hub == [("Qwen/Qwen3-0.6B", None)]
    assert result.stdout == "generation.model: Qwen/Qwen3-0.6B\n  in /cache/Qwen/Qwen3-0.6B\n"


def test_the_production_config_needs_all_three(rag: Any, hub: list[tuple[str, str | None]]) -> None:
    assert rag("models", "pull", "--config", str(ROOT / "serve_config.yaml"), url=None).exit_code == 0
    assert [model for model, _ in hub] == ["Qwen/Qwen3-8B", "BAAI/bge-m3", "BAAI/bge-reranker-v2-m3"]


def test_what_is_here_or_not_needed_is_not_fetched(tmp_path: Path) -> None:
    args = AppArgs.model_validate(
        {
            "embedding": {"backend": "fake"},
            "reranking": {"backend": "fake"},
            "generation": {"engine": "vllm", "model": str(tmp_path)},
        }
    )
    assert models.wanted(args) == []
    extractive = args.model_copy(update={"generation": args.generation.model_copy(update={"engine": "extractive"})})
    assert models.wanted(extractive) == []


def test_the_pinned_revision_is_fetched(rag: Any, hub: list[tuple[str, str | None]], tmp_path: Path) -> None:
    raw = load(ROOT / "cluster/local.yaml").raw
    raw["applications"][0]["args"]["generation"]["revision"] = "abc"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(raw))
    rag("models", "pull", "--config", str(tmp_path / "config.yaml"), url=None)
    assert hub == [("Qwen/Qwen3-0.6B", "abc")]


RESPONSE = httpx.Response(500, request=httpx.Request("GET", "https://hub"))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (errors.LocalEntryNotFoundError("nothing cached"), "the hub does not answer (nothing cached)"),
        (httpx.ConnectError("Name or service not known"), "the hub does not answer (Name or service not known)"),
        (errors.HfHubHTTPError("500 Server Error\nmore", response=RESPONSE), "does not answer (500 Server Error)"),
        (OSError("disk full"), "(disk full)"),
        (errors.RepositoryNotFoundError("404", response=RESPONSE), "is no model of the hub, or a private one"),
        (errors.GatedRepoError("403", response=RESPONSE), "accept it there and set HF_TOKEN"),
        (errors.RevisionNotFoundError("404", response=RESPONSE), "has no revision None"),
        (errors.HFValidationError("bad name"), "is no model of the hub"),
        (errors.OfflineModeIsEnabled("offline"), "HF_HUB_OFFLINE is set"),
    ],
)
def test_a_hub_that_does_not_deliver(rag: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str) -> None:
    def fail(*args: Any, **kwargs: Any) -> str:
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    result = rag("models", "pull", url=None)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: generation.model: Qwen/Qwen3-0.6B ")
    assert told in result.stderr
    assert result.stderr.count("\n") == 1
