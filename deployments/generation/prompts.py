"""Chat messages → the token ids of a prompt, by the chat template of a model in vLLM."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from deployments.errors import InvalidRequest, PromptTooLong
from deployments.generation.config import GenerationConfig
from deployments.generation.prompt_encoder import PromptEncoder
from deployments.types import Message

ApplyTemplate = Callable[[list[dict[str, str]], Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""Messages, and arguments of the chat template → `prompt`, its text; with `tokenize` `prompt_token_ids`, their ids."""


class Prompts:
    """Prompts in which no message's text is a control token of the model. Work is done in threads.

    Libraries have tokenizers of their own for a few families of models. Those get the messages as they are, and keep
    control tokens out of them: `sanitize_control_tokens` of transformers, and mistral-common always.
    """

    def __init__(self, config: GenerationConfig, tokenizer: Any, apply_template: ApplyTemplate) -> None:
        self._config = config
        self._tokenizer = tokenizer
        self._apply_template = apply_template
        backend = getattr(tokenizer, "backend_tokenizer", None)
        self._encoder = None if backend is None else PromptEncoder(backend)

    async def encode(self, messages: Sequence[Message]) -> list[int]:
        """The token ids. Raises PromptTooLong if no token is left for an answer, and what the chat template does."""
        arguments = {**self._config.chat_template_kwargs, "add_generation_prompt": True}
        if self._encoder is None:
            arguments |= {"tokenize": True, "sanitize_control_tokens": True}
            plain = [{"role": message.role, "content": message.content} for message in messages]
            ids: list[int] = (await self._apply_template(plain, arguments))["prompt_token_ids"]
        else:
            self._require_characters(self._encoder, [message.content for message in messages])
            marked = await asyncio.to_thread(_marked, self._encoder, messages)
            rendered = await self._apply_template(marked, arguments | {"tokenize": False})
            ids = await asyncio.to_thread(self._encoder.encode, rendered["prompt"])
        self._require_room(ids)
        return ids

    async def encode_text(self, text: str) -> list[int]:
        """The token ids of a text that the model is to continue. Raises PromptTooLong, and InvalidRequest if there are
        none."""
        if self._encoder is None:
            encoded = await asyncio.to_thread(self._tokenizer, text)
            ids: list[int] = encoded["input_ids"]
        else:
            self._require_characters(self._encoder, [text])
            ids = await asyncio.to_thread(self._encoder.encode_text, text)
        if not ids:
            raise InvalidRequest("prompt: the model's tokenizer finds nothing in it; send a text", field="prompt")
        self._require_room(ids)
        return ids

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text as it stands in a prompt. Of texts that no prompt holds as many as they have bytes."""
        if self._encoder is not None:
            return await asyncio.to_thread(self._encoder.count, texts, self._config.context_tokens)
        encoded = await asyncio.to_thread(self._tokenizer, list(texts), add_special_tokens=False)
        return [len(ids) for ids in encoded["input_ids"]]

    def _require_room(self, ids: Sequence[int]) -> None:
        """Raises PromptTooLong if no token is left for an answer."""
        if len(ids) >= self._config.context_tokens:
            raise PromptTooLong(
                f"the prompt has {len(ids)} tokens and generation.context_tokens is {self._config.context_tokens}:"
                " send less"
            )

    def _require_characters(self, encoder: PromptEncoder, texts: Sequence[str]) -> None:
        """Raises PromptTooLong for texts that are too long to be read at all."""
        characters = sum(map(len, texts))
        if characters > encoder.max_characters(self._config.context_tokens):
            raise PromptTooLong(
                f"the prompt has {characters} characters and generation.context_tokens is"
                f" {self._config.context_tokens}: send less"
            )


def _marked(encoder: PromptEncoder, messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": encoder.mark(message.content)} for message in messages]
