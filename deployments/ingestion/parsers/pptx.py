"""Parses PPTX: each slide under its title, with tables, charts and notes. Slide numbers are page numbers."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from pptx import Presentation
from pptx.enum.shapes import PP_PLACEHOLDER
from pptx.shapes.group import GroupShape

from deployments.ingestion.base import ParsedDocument
from deployments.ingestion.omissions import Omission
from deployments.ingestion.parsers import charts
from deployments.ingestion.parsers.archive import comments, opened, transitional, xml
from deployments.ingestion.parsers.limits import BoundedText, Limits
from deployments.ingestion.parsers.pages import page_offsets
from deployments.ingestion.parsers.pictures import alternative_text
from deployments.ingestion.parsers.pptx_margins import is_hidden, margin_texts
from deployments.ingestion.parsers.pptx_order import Placed, in_reading_order
from deployments.ingestion.parsers.pptx_slide import labels, rewrite
from deployments.ingestion.parsers.tables import row, tables
from deployments.ingestion.parsers.text import clean, has_croatian_letters

_NOT_TEXT: tuple[tuple[str, Omission], ...] = (
    ("p:nvPicPr/p:nvPr/*[self::a:audioFile or self::a:videoFile or self::a:wavAudioFile]", "media"),
    (".//p:oleObj", "object"),
    (".//dgm:relIds", "diagram"),
    (".//cx:chart", "chart"),
    ("self::p:pic", "picture"),
)
"""The first that holds for a shape says what it is. A video and an object's preview are pictures too."""
_COMMENTS = re.compile(r"ppt/comments/[^/]+\.xml")
_NOISE = (PP_PLACEHOLDER.DATE, PP_PLACEHOLDER.FOOTER, PP_PLACEHOLDER.HEADER, PP_PLACEHOLDER.SLIDE_NUMBER)


def parse_pptx(data: bytes, limits: Limits) -> ParsedDocument:
    """Hidden slides and shapes are left out. The document's title is the first slide's, which says more than the file's
    own. What stands on many slides is at the beginning, once."""
    text = BoundedText(limits.text_characters)
    numbers: list[int] = []
    left_out: Counter[Omission] = Counter()
    with opened(data, limits.inflation, "PPTX") as archive:
        left_out["comment"] += comments(archive, filter(_COMMENTS.fullmatch, archive.namelist()))
        deck = Presentation(io.BytesIO(transitional(data)))
        limits.check_pages(len(deck.slides))
        croatian = any(has_croatian_letters(text) for slide in deck.slides for text in slide.element.itertext())
        title = ""
        shown = [number for number, slide in enumerate(deck.slides, start=1) if not _is_hidden_slide(slide)]
        for margin in margin_texts(slide for slide in deck.slides if not _is_hidden_slide(slide)):
            text.add(clean(margin))
            numbers.append(shown[0])
        for number, slide in enumerate(deck.slides, start=1):
            rewrite(slide.element)
            heading = slide.shapes.title
            slide_title = _line(heading.text_frame.text) if heading is not None and heading.has_text_frame else ""
            if number == 1:
                title = slide_title or deck.core_properties.title
            if _is_hidden_slide(slide):
                left_out["hidden_slide"] += 1
            else:
                content = clean("\n\n".join(_content(slide, croatian, left_out)))
                text.add(f"## {slide_title or f'Slide {number}'}\n\n{content}" if slide_title or content else "")
                numbers.append(number)
    full_text = clean(str(text))
    pages = page_offsets(zip(numbers, text.parts, strict=True), full_text)
    return ParsedDocument(title=clean(title), text=full_text, pages=pages, left_out=left_out)


def _is_hidden_slide(slide: Any) -> bool:
    return slide.element.get("show") in ("0", "false")


def _content(slide: Any, croatian: bool, left_out: Counter[Omission]) -> Iterator[str]:
    title = slide.shapes.title
    yield from _blocks(slide.shapes, None if title is None else title.element, croatian, left_out)
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        yield from _paragraphs(slide.notes_slide.notes_text_frame)


def _blocks(shapes: Iterable[Any], title: Any, croatian: bool, left_out: Counter[Omission]) -> Iterator[str]:
    """The shapes' texts in reading order."""
    placed = [
        Placed(texts, shape.left or 0, shape.top or 0, shape.width or 0, shape.height or 0)
        for shape in shapes
        if (texts := [*filter(None, _texts(shape, title, croatian, left_out))])
    ]
    for shape in in_reading_order(placed):
        yield from shape.texts


def _texts(shape: Any, title: Any, croatian: bool, left_out: Counter[Omission]) -> Iterator[str]:
    if is_hidden(shape):
        left_out["hidden_word"] += len(" ".join(charts.paragraphs(shape.element)).split())
        return
    if shape.element is title or (shape.is_placeholder and shape.placeholder_format.type in _NOISE):
        return
    if isinstance(shape, GroupShape):
        yield from _blocks(shape.shapes, title, croatian, left_out)
    elif shape.has_table:
        yield from tables(row(cell.text for cell in cells.cells) for cells in shape.table.rows)
    elif shape.has_chart:
        yield from _chart(shape.chart._chartSpace, croatian, left_out)
    elif not shape.has_text_frame:
        yield from _drawn(shape, croatian, left_out)
    else:
        paragraphs = [*_paragraphs(shape.text_frame)]
        yield from paragraphs if len(paragraphs) == 1 or not shape.is_placeholder else [_list(shape.text_frame)]


def _chart(space: Any, croatian: bool, left_out: Counter[Omission]) -> Iterator[str]:
    figures = [*charts.figures(space, croatian)]
    left_out["chart"] += not figures
    yield from charts.titles(space)
    for rows in figures:
        yield from tables(rows)


def _drawn(shape: Any, croatian: bool, left_out: Counter[Omission]) -> list[str]:
    """The texts of a shape without a frame for text: a diagram's, a chart's of a kind that is younger than python-pptx,
    or the one that stands for a picture."""
    kind = next((kind for path, kind in _NOT_TEXT if charts.find(shape.element, path)), None)
    texts: list[str] = []
    match kind:
        case "diagram":
            for relation in charts.find(shape.element, ".//dgm:relIds/@r:dm"):
                texts += charts.diagram(xml(shape.part.related_part(relation).blob))
        case "chart":
            for relation in charts.find(shape.element, ".//cx:chart/@r:id"):
                texts += _chart(xml(shape.part.related_part(relation).blob), croatian, left_out)
            return texts
        case "picture":
            described = charts.find(shape.element, "p:nvPicPr/p:cNvPr/@descr")
            texts += filter(None, map(alternative_text, described))
    if kind is not None:
        left_out[kind] += not texts
    return texts


def _paragraphs(frame: Any) -> Iterator[str]:
    for label, paragraph in zip(labels(frame), frame.paragraphs, strict=True):
        if text := _line(paragraph.text):
            yield f"{label} {text}".lstrip()


def _list(frame: Any) -> str:
    lines = ((paragraph.level, _line(paragraph.text)) for paragraph in frame.paragraphs)
    return "\n".join(
        f"{'  ' * level}{label or '-'} {text}"
        for label, (level, text) in zip(labels(frame), lines, strict=True)
        if text
    )


def _line(text: str) -> str:
    return " ".join(text.split())
