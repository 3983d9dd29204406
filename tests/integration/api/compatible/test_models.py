from __future__ import annotations

import pytest
from openai.types import Model as TheirModel

from deployments.errors import StageUnavailable
from deployments.types import StageStatus
from serve_app.api.compatible.openai import Model, Models
from tests.integration.api.compatible.conftest import extras, fits, openai_error
from tests.integration.api.conftest import Api


async def listed(api: Api) -> list[str]:
    return [each["id"] for each in fits(Models, (await api.client.get("/v1/models")).text)["data"]]


@pytest.mark.parametrize(
    ("serving", "raw"),
    [
        (StageStatus(True, "vllm", "Qwen/Qwen3-8B"), ["Qwen/Qwen3-8B", "tiny", "legal"]),
        (StageStatus(True, "fake"), ["fake"]),
        (StageStatus(True, "extractive"), []),
        (StageStatus(True, "vllm", "org/embedder"), ["org/embedder", "tiny", "legal"]),
    ],
)
async def test_models_are_listed_once_and_each_is_found(api: Api, serving: StageStatus, raw: list[str]) -> None:
    api.stages.serving = serving
    models = await listed(api)
    assert models == list(dict.fromkeys(["rag", *raw, "org/embedder", "org/reranker"]))
    for model in models:
        answer = await api.client.get(f"/v1/models/{model}")
        assert fits(Model, answer.text)["id"] == model
        assert not extras(TheirModel.model_validate_json(answer.text, strict=True))


@pytest.mark.parametrize("model", ["gpt-4o", "org/other", "rag/", "", "%00"])
async def test_another_model_is_not_found(api: Api, model: str) -> None:
    answer = await api.client.get(f"/v1/models/{model}")
    error = openai_error(answer)
    assert (answer.status_code, error["code"]) in [(404, "model_not_found"), (400, "invalid_request")]
    assert (answer.status_code == 404) is (model != "%00")
    assert model == "%00" or "'org/embedder'" in error["message"]


async def test_a_stage_that_does_not_answer_is_said(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def gone() -> str:
        raise StageUnavailable("reranking lost its replica; try again")

    monkeypatch.setattr(api.stages, "reranker", gone)
    answer = await api.client.get("/v1/models")
    assert (answer.status_code, openai_error(answer)["code"]) == (503, "stage_unavailable")
