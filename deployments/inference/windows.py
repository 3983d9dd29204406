"""Splits texts that are longer than a model reads into windows, so that no text is silently cut off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Encoding, Tokenizer


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a text. `tokens` counts its own tokens: neither special ones nor a prompt's."""

    text: str
    tokens: int


def untruncated(tokenizer_json: str) -> Tokenizer:
    """The tokenizer without the truncation and padding that a model's file may switch on. A special token's name in a
    text is text."""
    tokenizer: Tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def split_into_windows(
    tokenizer: Tokenizer, texts: Sequence[str], capacity: int, prompt: str = ""
) -> list[list[Window]]:
    """The windows of each text. With the prompt before it, a window has at most `capacity` tokens, special ones not
    counted.

    A text's windows follow each other without gap or overlap. A text that is too long is halved at the start of a word
    until its parts fit, so the windows are about equally long.
    """
    prompt_tokens = len(tokenizer.encode(prompt, add_special_tokens=False).ids) if prompt else 0
    encodings = tokenizer.encode_batch([prompt + text for text in texts], add_special_tokens=False)
    return [
        [Window(text, max(len(encoding.ids) - prompt_tokens, 0))]
        if len(encoding.ids) <= capacity or len(text) < 2
        else [
            window
            for part in split_into_windows(tokenizer, _halves(tokenizer, text), capacity, prompt)
            for window in part
        ]
        for text, encoding in zip(texts, encodings, strict=True)
    ]


def _halves(tokenizer: Tokenizer, text: str) -> tuple[str, str]:
    """The text cut at the start of the word nearest before its middle token; in mid-word where there is none."""
    encoding: Encoding = tokenizer.encode(text, add_special_tokens=False)
    middle = len(encoding.ids) // 2
    word_starts = (
        token for token in range(middle, middle // 2, -1) if encoding.word_ids[token] != encoding.word_ids[token - 1]
    )
    boundary: int = encoding.offsets[next(word_starts, middle)][0] if encoding.ids else 0
    if not 0 < boundary < len(text):
        boundary = len(text) // 2
    return text[:boundary], text[boundary:]
