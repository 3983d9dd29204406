from __future__ import annotations

from collections.abc import Callable

import pytest

from deployments.errors import StageUnavailable
from deployments.generation.config import GenerationConfig
from deployments.generation.deployment import Generation
from deployments.generation.fake import FakeEngine
from deployments.types import GenerationLoad, GenerationRequest, StageStatus

MakeRequest = Callable[..., GenerationRequest]


@pytest.mark.parametrize("engine", ["fake", "extractive"])
async def test_serves_the_engine_of_its_configuration(engine: str, request_for: MakeRequest) -> None:
    stage = Generation(GenerationConfig.model_validate({"engine": engine}))
    deltas = [delta async for delta in stage.generate(request_for())]
    assert deltas[-1].finish_reason in {"stop", "no_answer"}
    assert (await stage.status()).engine == engine
    assert await stage.count_tokens(["a b"]) == [2]
    assert await stage.load() == GenerationLoad(0, 0)
    await stage.check_health()


@pytest.mark.parametrize("engine", ["auto", "vllm"])
def test_engines_with_another_deployment_are_refused(engine: str) -> None:
    with pytest.raises(ValueError, match=r"generation\.engine"):
        Generation(GenerationConfig.model_validate({"engine": engine}))


async def test_closing_the_stream_ends_the_query_in_the_engine(request_for: MakeRequest) -> None:
    stage = Generation(GenerationConfig(engine="fake"))
    stream = stage.generate(request_for())
    await anext(stream)
    assert await stage.load() == GenerationLoad(1, 0)
    await stream.aclose()
    assert await stage.load() == GenerationLoad(0, 0)


async def test_an_abort_reaches_the_engine(request_for: MakeRequest) -> None:
    stage = Generation(GenerationConfig(engine="fake"))
    stream = stage.generate(request_for())
    await anext(stream)
    assert await stage.abort("t", "q")
    assert [delta.finish_reason async for delta in stream] == ["cancelled"]


async def test_an_engine_that_is_not_ready_fails_the_health_check(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(self: FakeEngine) -> StageStatus:
        return StageStatus(ready=False, engine="fake", detail="no power")

    monkeypatch.setattr(FakeEngine, "status", broken)
    with pytest.raises(StageUnavailable, match="no power"):
        await Generation(GenerationConfig(engine="fake")).check_health()
