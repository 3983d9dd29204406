"""Texts longer than a model reads, cut into windows that it does, so that nothing is silently cut off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Encoding, Tokenizer


@dataclass(frozen=True, slots=True)
class Window:
    """A piece of a text. `tokens` counts its own tokens: neither special ones nor those of a prompt."""

    text: str
    tokens: int


def untruncated(tokenizer_json: str) -> Tokenizer:
    """The tokenizer without the truncation and padding that a model's file may switch on."""
    tokenizer: Tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def split(tokenizer: Tokenizer, texts: Sequence[str], capacity: int, prompt: str = "") -> list[list[Window]]:
    """Each text as windows which, behind the prompt, have at most `capacity` tokens, special ones not counted.

    The windows of a text follow each other without gap or overlap. A text too long is halved at the start of a word
    until its parts fit, so that they come out about equally long.
    """
    prompt_tokens = len(tokenizer.encode(prompt, add_special_tokens=False).ids) if prompt else 0
    encodings = tokenizer.encode_batch([prompt + text for text in texts], add_special_tokens=False)
    return [
        [Window(text, max(len(encoding.ids) - prompt_tokens, 0))]
        if len(encoding.ids) <= capacity or len(text) < 2
        else [window for part in split(tokenizer, _halves(tokenizer, text), capacity, prompt) for window in part]
        for text, encoding in zip(texts, encodings, strict=True)
    ]


def _halves(tokenizer: Tokenizer, text: str) -> tuple[str, str]:
    encoding: Encoding = tokenizer.encode(text, add_special_tokens=False)
    middle = len(encoding.ids) // 2
    starts_word = (at for at in range(middle, middle // 2, -1) if encoding.word_ids[at] != encoding.word_ids[at - 1])
    cut: int = encoding.offsets[next(starts_word, middle)][0] if encoding.ids else 0
    if not 0 < cut < len(text):
        cut = len(text) // 2
    return text[:cut], text[cut:]
