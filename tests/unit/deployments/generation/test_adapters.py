from __future__ import annotations

import asyncio
import logging

import pytest
from fastapi import HTTPException

from deployments.errors import StageUnavailable, UnknownModel
from deployments.generation import adapters
from deployments.generation.adapters import Adapters, ray_id
from deployments.generation.config import GenerationConfig

MISSING = HTTPException(404, "Unable to find LoRA adapter config file in folder s3://bucket/lora/legal")


class Loader:
    """Ray's loading of adapters: by id, what loading one raises, and the loads so far."""

    def __init__(self, **failures: Exception) -> None:
        self.failures = {ray_id(name): error for name, error in failures.items()}
        self.loaded: list[str] = []
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, adapter_id: str) -> None:
        await self.go.wait()
        if adapter_id in self.failures:
            raise self.failures[adapter_id]
        self.loaded.append(adapter_id)


async def test_an_adapter_that_is_not_there_is_an_unknown_model_and_its_place_stays_internal() -> None:
    with pytest.raises(UnknownModel, match="s3://bucket") as told:
        await Adapters(Loader(legal=MISSING)).load(ray_id("legal"))
    assert told.value.field == "model"
    assert told.value.message == "model: the adapter 'legal' is not where adapters are kept, or cannot be read there"


@pytest.mark.parametrize("error", [TimeoutError("s3://bucket"), ValueError("s3://bucket: rank 64"), HTTPException(500)])
async def test_an_adapter_that_cannot_be_loaded_may_be_tried_again(error: Exception) -> None:
    with pytest.raises(StageUnavailable) as told:
        await Adapters(Loader(legal=error)).load(ray_id("legal"))
    assert told.value.message == "generation could not load the adapter 'legal'; try again"
    assert type(error).__name__ in told.value.internal


async def test_a_start_loads_all_adapters_and_logs_those_that_are_missing(caplog: pytest.LogCaptureFixture) -> None:
    loader = Loader(legal=MISSING)
    with caplog.at_level(logging.WARNING):
        await Adapters(loader).preload(["tax", "legal", "notary"])
    assert sorted(loader.loaded) == [ray_id("notary"), ray_id("tax")]
    assert [record.message for record in caplog.records if "'legal'" in record.message]


async def test_an_adapter_whose_download_hangs_does_not_keep_the_others_waiting(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(adapters, "LOAD_S", 0.05)
    loader = Loader()
    loader.go.clear()
    with caplog.at_level(logging.WARNING):
        async with asyncio.timeout(30):
            await Adapters(loader).preload(["tax"])
    assert [record.message for record in caplog.records if "in advance: TimeoutError" in record.message]


async def test_a_start_waits_for_a_slow_store_only_so_long_and_loads_on() -> None:
    loader = Loader()
    loader.go.clear()
    async with asyncio.timeout(30):
        await Adapters(loader).preload(["tax"], at_most_s=0.05)
    assert loader.loaded == []
    loader.go.set()
    async with asyncio.timeout(30):
        while not loader.loaded:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0)


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a:b", "../x", "a b"])
def test_an_adapter_s_name_is_that_of_one_folder(name: str) -> None:
    with pytest.raises(ValueError, match="adapters"):
        GenerationConfig(adapters=(name,), lora={"dynamic_lora_loading_path": "s3://bucket/lora"})


def test_adapters_need_a_place_and_a_name_of_their_own() -> None:
    with pytest.raises(ValueError, match="dynamic_lora_loading_path"):
        GenerationConfig(adapters=("legal",), lora={"max_num_adapters_per_replica": 2})
    with pytest.raises(ValueError, match="model's own name"):
        GenerationConfig(model="legal", adapters=("legal",), lora={"dynamic_lora_loading_path": "s3://bucket/lora"})
