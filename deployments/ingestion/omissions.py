"""What parsers leave out of documents, and the words in which a document says so: its warnings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast, get_args

Omission = Literal[
    "page",
    "character",
    "hidden_word",
    "hidden_slide",
    "hidden_sheet",
    "hidden_row",
    "hidden_column",
    "comment",
    "deletion",
    "chart",
    "diagram",
    "picture",
    "media",
    "object",
    "frame",
    "form",
    "attachment_kind",
    "attachment",
    "field",
]
"""A kind of thing that is left out.

`page`: without text. `character`: in a font that does not say which letter it is. `hidden_word`: one that a reader of
the page does not see. `comment`: about the text, such as a note on a cell. `picture`: without a text of its own that
could stand for it. `media`: sounds and videos. `object`: another program's data within the document.
`frame`: another page that is shown within a page. `form`: of a page whose text is not the form.
`attachment_kind`: of a kind that is not read. `attachment`: one that could not be read. `field`: of the front matter,
which metadata cannot hold.
"""
_WORDS: Mapping[Omission, tuple[str, str]] = {
    "page": ("page without text", "pages without text"),
    "character": (
        "character whose font does not say which letter it is",
        "characters whose fonts do not say which letters they are",
    ),
    "hidden_word": ("hidden word", "hidden words"),
    "hidden_slide": ("hidden slide", "hidden slides"),
    "hidden_sheet": ("hidden sheet", "hidden sheets"),
    "hidden_row": ("hidden row", "hidden rows"),
    "hidden_column": ("hidden column", "hidden columns"),
    "comment": ("comment", "comments"),
    "deletion": ("tracked deletion", "tracked deletions"),
    "chart": ("chart", "charts"),
    "diagram": ("diagram", "diagrams"),
    "picture": ("picture without text", "pictures without text"),
    "media": ("sound or video", "sounds and videos"),
    "object": ("embedded object", "embedded objects"),
    "frame": ("page in a frame that was not read", "pages in frames that were not read"),
    "form": ("form within a page", "forms within a page"),
    "attachment_kind": ("attachment of a kind that is not read", "attachments of kinds that are not read"),
    "field": (
        "field of the front matter that metadata cannot hold",
        "fields of the front matter that metadata cannot hold",
    ),
    "attachment": ("attachment that could not be read", "attachments that could not be read"),
}
MAX_COUNT = 1_000_000
"""Higher counts are given as this one."""
MAX_WARNINGS = 20
"""Warnings of one document: at most one of each kind."""
MAX_WARNING_CHARACTERS = 100


def checked(counts: object) -> dict[Omission, int]:
    """The counts that a parsing process answered with, as far as they are counts of known kinds."""
    if not isinstance(counts, Mapping):
        return {}
    return {
        cast(Omission, kind): min(count, MAX_COUNT)
        for kind, count in counts.items()
        if kind in get_args(Omission) and type(count) is int and count > 0
    }


def warnings(left_out: Mapping[Omission, int]) -> tuple[str, ...]:
    """One sentence part for each kind that was left out, such as "2 pictures without text"."""
    return tuple(
        f"{count:,} {one if count == 1 else several}"
        for kind, (one, several) in _WORDS.items()
        if (count := left_out.get(kind, 0)) > 0
    )
