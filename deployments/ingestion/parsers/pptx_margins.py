"""Reads what stands on many slides of a deck: feet, heads, and texts of the layouts that slides are made with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pptx.enum.shapes import PP_PLACEHOLDER
from pptx.shapes.group import GroupShape

_FEET = (PP_PLACEHOLDER.FOOTER, PP_PLACEHOLDER.HEADER)
_FALSE = ("0", "false")


def is_hidden(shape: Any) -> bool:
    """Whether the author hid a shape."""
    named = shape.element.find(".//{*}cNvPr")
    return named is not None and named.get("hidden") in ("1", "true")


def margin_texts(slides: Iterable[Any]) -> list[str]:
    """The texts, each once, without page numbers and dates."""
    texts: dict[str, None] = {}
    seen: set[int] = set()
    for slide in slides:
        for shape in slide.placeholders:
            if shape.placeholder_format.type in _FEET and not is_hidden(shape):
                texts.update(dict.fromkeys(_lines(shape)))
        for layout in _layouts(slide):
            if id(layout.element) not in seen:
                seen.add(id(layout.element))
                texts.update(dict.fromkeys(_drawn(layout.shapes)))
    return [*texts]


def _layouts(slide: Any) -> Iterator[Any]:
    """The layout and the master that show through on a slide."""
    if slide.element.get("showMasterSp") not in _FALSE:
        layout = slide.slide_layout
        yield layout
        if layout.element.get("showMasterSp") not in _FALSE:
            yield layout.slide_master


def _drawn(shapes: Iterable[Any]) -> Iterator[str]:
    for shape in shapes:
        if is_hidden(shape) or shape.is_placeholder:
            continue
        if isinstance(shape, GroupShape):
            yield from _drawn(shape.shapes)
        elif shape.has_text_frame:
            yield from _lines(shape)


def _lines(shape: Any) -> Iterator[str]:
    for paragraph in shape.text_frame.paragraphs:
        is_field = any(each.tag.endswith("}fld") for each in paragraph._p)
        text = " ".join(paragraph.text.split())
        if any(map(str.isalnum, text)) and not is_field:
            yield text
