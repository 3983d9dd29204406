"""Adapters by our ids, through Ray's own loader and a store in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ray.llm._internal.common.utils.cloud_utils import CloudFileSystem
from ray.llm._internal.serve.utils.lora_serve_utils import LoraModelLoader
from ray.serve.llm import LLMConfig

from deployments.errors import UnknownModel
from deployments.generation.adapters import Adapters, ray_id
from deployments.generation.config import GenerationConfig
from deployments.generation.vllm import llm_config

STORE = "s3://bucket/lora"


@pytest.fixture
def config() -> LLMConfig:
    return llm_config(
        GenerationConfig(engine="vllm", adapters=("legal", "tax"), lora={"dynamic_lora_loading_path": STORE})
    )


async def test_an_adapter_is_loaded_from_its_own_folder_and_a_missing_one_is_unknown(
    config: LLMConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloaded = []

    def get_file(object_uri: str, *_: Any) -> str | None:
        return '{"r": 8}' if object_uri == f"{STORE}/legal/adapter_config.json" else None

    def download_files(path: str, bucket_uri: str, **_: Any) -> None:
        downloaded.append(bucket_uri)

    monkeypatch.setattr(CloudFileSystem, "get_file", staticmethod(get_file))
    monkeypatch.setattr(CloudFileSystem, "download_files", staticmethod(download_files))
    loader = LoraModelLoader(lora_root=str(tmp_path / "cache"))
    adapters = Adapters(lambda adapter_id: loader.load_model_from_config(adapter_id, config))
    await adapters.load(ray_id("legal"))
    assert downloaded == [f"{STORE}/legal"]
    with pytest.raises(UnknownModel, match="'tax' is not where adapters are kept"):
        await adapters.load(ray_id("tax"))
    assert downloaded == [f"{STORE}/legal"]
