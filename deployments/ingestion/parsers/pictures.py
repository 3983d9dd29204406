"""The text that stands for a picture where the document has one: its alternative text."""

from __future__ import annotations

import re

_FILE_NAME = re.compile(r"[^\n]{1,200}\.(?:bmp|emf|gif|jpe?g|png|svg|tiff?|webp|wmf)", re.IGNORECASE)
"""Programs put a picture's file name where its text should be."""


def alternative_text(text: object) -> str:
    """On one line; empty if there is none, or only a file name."""
    line = " ".join(text.split()) if isinstance(text, str) else ""
    return "" if _FILE_NAME.fullmatch(line) else line
