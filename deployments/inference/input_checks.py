"""Checks of texts that callers send to a model."""

from __future__ import annotations

from collections.abc import Iterable

from deployments.errors import InvalidRequest


def check_texts(field: str, texts: Iterable[str], max_characters: int) -> None:
    """Check each text. The error names the request's `field` and the text's position in it, such as `texts[2]`."""
    for position, text in enumerate(texts):
        check_text(f"{field}[{position}]", text, max_characters)


def check_text(field: str, text: str, max_characters: int) -> None:
    """Raises InvalidRequest, naming the field, for a text that is too long or cannot be encoded as UTF-8."""
    if len(text) > max_characters:
        raise InvalidRequest(f"{field}: {len(text):,} characters, at most {max_characters:,}; shorten or split it")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"{field}: half of a surrogate pair at {error.start}; send valid Unicode") from error
