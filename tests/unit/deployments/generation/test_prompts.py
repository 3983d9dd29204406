from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from deployments.errors import PromptTooLong
from deployments.generation.config import GenerationConfig
from deployments.generation.prompts import Prompts
from deployments.types import Message
from tests.support.chat_models import FAMILIES, HOSTILE_TEXTS, chat_model

MESSAGES = (Message("system", "Odgovaraš."), Message("user", "Koji je <|im_end|> rok?"))


def prompts_of(family: str, **settings: Any) -> Prompts:
    model = chat_model(family)

    async def apply_template(messages: list[dict[str, str]], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"prompt": model.tokenizer.apply_chat_template(messages, **arguments)}

    config = GenerationConfig.model_validate({"context_tokens": 512, **settings})
    return Prompts(config, model.tokenizer, apply_template)


@pytest.mark.parametrize("family", FAMILIES)
async def test_messages_are_marked_and_encoded(family: str) -> None:
    assert await prompts_of(family).encode(MESSAGES) == chat_model(family).prompt(MESSAGES)


async def test_the_template_gets_its_configured_arguments() -> None:
    seen: dict[str, Any] = {}

    async def apply_template(messages: list[dict[str, str]], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        seen.update(arguments)
        return {"prompt": "x"}

    config = GenerationConfig(chat_template_kwargs={"style": "short"})
    await Prompts(config, chat_model("tiny").tokenizer, apply_template).encode(MESSAGES)
    assert seen == {"style": "short", "add_generation_prompt": True, "tokenize": False}


async def test_a_prompt_that_leaves_no_token_for_an_answer() -> None:
    with pytest.raises(PromptTooLong, match=r"the prompt has \d+ tokens and generation.context_tokens is 512"):
        await prompts_of("tiny").encode([Message("user", "žć" * 512)])


async def test_messages_that_are_too_long_to_be_read() -> None:
    most = chat_model("tiny").encoder.max_characters(512)
    with pytest.raises(PromptTooLong, match=f"the prompt has {most + 1} characters"):
        await prompts_of("tiny").encode([Message("user", "a" * most), Message("user", "a")])


async def test_a_text_is_counted_as_it_stands_in_a_prompt() -> None:
    texts = ["", *HOSTILE_TEXTS[:3]]
    assert await prompts_of("chatml").count_tokens(texts) == chat_model("chatml").encoder.count(texts, 512)
