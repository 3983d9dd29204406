from __future__ import annotations

import pytest
from pydantic import ValidationError

from deployments.generation.config import OWNED_ENGINE_ARGUMENTS, GenerationConfig


@pytest.mark.parametrize(("argument", "field"), OWNED_ENGINE_ARGUMENTS.items())
def test_an_engine_argument_that_a_field_decides_is_refused_by_that_fields_name(argument: str, field: str) -> None:
    assert field in GenerationConfig.model_fields
    with pytest.raises(ValidationError, match=rf"'{argument}' is refused here: set generation\.{field}"):
        GenerationConfig(engine_kwargs={argument: 1})


def test_the_statistics_that_load_is_read_from_stay_on() -> None:
    with pytest.raises(ValidationError, match="disable_log_stats"):
        GenerationConfig(engine_kwargs={"disable_log_stats": True})


def test_other_engine_arguments_pass() -> None:
    assert GenerationConfig(engine_kwargs={"enforce_eager": True}).engine_kwargs == {"enforce_eager": True}


def test_a_gpu_type_needs_a_gpu() -> None:
    with pytest.raises(ValidationError, match="accelerator_type"):
        GenerationConfig(accelerator="cpu", accelerator_type="H100")
    assert GenerationConfig(accelerator="gpu", accelerator_type="H100").accelerator_type == "H100"
