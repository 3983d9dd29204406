"""Chat messages → the token ids of a prompt, by the chat template of a model in vLLM."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from deployments.errors import InvalidRequest, PromptTooLong
from deployments.generation.config import GenerationConfig
from deployments.generation.prompt_encoder import ESCAPED_MARK, PromptEncoder
from deployments.generation.tool_calls import as_template_has_them
from deployments.types import Message, Tools

ApplyTemplate = Callable[[list[dict[str, Any]], Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
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

    async def encode(self, messages: Sequence[Message], tools: Tools | None = None) -> list[int]:
        """The token ids. Raises PromptTooLong if no token is left for an answer, and what the chat template does."""
        arguments = {**self._config.chat_template_kwargs, "add_generation_prompt": True}
        if tools is not None:
            arguments["tools"] = as_template_has_them(tools)
        if self._encoder is None:
            arguments |= {"tokenize": True, "sanitize_control_tokens": True}
            ids: list[int] = (await self._apply_template([*map(_plain, messages)], arguments))["prompt_token_ids"]
        else:
            self._require_characters(self._encoder, [message.content for message in messages])
            marked = await asyncio.to_thread(_marked_messages, self._encoder, messages)
            if tools is not None:
                arguments["tools"] = await asyncio.to_thread(_marked, self._encoder, arguments["tools"])
            rendered = (await self._apply_template(marked, arguments | {"tokenize": False}))["prompt"]
            _require_whole_marks(rendered)
            ids = await asyncio.to_thread(self._encoder.encode, rendered)
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


def _plain(message: Message) -> dict[str, Any]:
    """The message as chat templates know it."""
    shown: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        shown["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        shown["tool_call_id"] = message.tool_call_id
    return shown


def _marked_messages(encoder: PromptEncoder, messages: Sequence[Message]) -> list[dict[str, Any]]:
    marked = []
    for message in messages:
        shown = _plain(message)
        for call in shown.get("tool_calls", ()):
            # Its JSON may escape a name, which the template would see in plain.
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
        marked.append(_marked(encoder, shown) | {"role": message.role})
    return marked


def _marked(encoder: PromptEncoder, value: Any) -> Any:
    """The value with all texts in it as a chat template is to get them, keys too."""
    match value:
        case str():
            return encoder.mark(value)
        case dict():
            return {encoder.mark(name): _marked(encoder, each) for name, each in value.items()}
        case list() | tuple():
            return [_marked(encoder, each) for each in value]
        case _:
            return value


def _require_whole_marks(rendered: str) -> None:
    """Raises InvalidRequest for a template that escapes them: what they mark would be control tokens."""
    if ESCAPED_MARK.search(rendered):
        raise InvalidRequest("the model's chat template escapes characters of tools and their calls; leave them out")
