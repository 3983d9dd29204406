"""Parses PPTX: each slide under its title, with tables, charts and notes. Slide numbers are page numbers."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Any

from lxml import etree
from pptx import Presentation
from pptx.enum.shapes import PP_PLACEHOLDER
from pptx.shapes.group import GroupShape

from deployments.ingestion.base import ParsedDocument
from deployments.ingestion.parsers.archive import opened, transitional, xml
from deployments.ingestion.parsers.limits import BoundedText, Limits
from deployments.ingestion.parsers.pages import page_offsets
from deployments.ingestion.parsers.tables import row, tables
from deployments.ingestion.parsers.text import clean

_NAMESPACES = {
    "a": "http://schemas.openxmlformats.org/drawingml/2006/main",
    "c": "http://schemas.openxmlformats.org/drawingml/2006/chart",
    "dgm": "http://schemas.openxmlformats.org/drawingml/2006/diagram",
    "r": "http://schemas.openxmlformats.org/officeDocument/2006/relationships",
}
_POINTS = 100_000
"""Points of one series that are read."""
_NOISE = (PP_PLACEHOLDER.DATE, PP_PLACEHOLDER.FOOTER, PP_PLACEHOLDER.HEADER, PP_PLACEHOLDER.SLIDE_NUMBER)


def parse_pptx(data: bytes, limits: Limits) -> ParsedDocument:
    """Hidden slides are left out. The document's title is the first slide's, which says more than the file's own."""
    text = BoundedText(limits.text_characters)
    numbers: list[int] = []
    with opened(data, limits.inflation, "PPTX"):
        deck = Presentation(io.BytesIO(transitional(data)))
        limits.check_pages(len(deck.slides))
        title = ""
        for number, slide in enumerate(deck.slides, start=1):
            heading = slide.shapes.title
            slide_title = _line(heading.text_frame.text) if heading is not None and heading.has_text_frame else ""
            if number == 1:
                title = slide_title or deck.core_properties.title
            if slide.element.get("show") not in ("0", "false"):
                content = clean("\n\n".join(_content(slide)))
                text.add(f"## {slide_title or f'Slide {number}'}\n\n{content}" if slide_title or content else "")
                numbers.append(number)
    full_text = clean(str(text))
    pages = page_offsets(zip(numbers, text.parts, strict=True), full_text)
    return ParsedDocument(title=clean(title), text=full_text, pages=pages)


def _content(slide: Any) -> Iterator[str]:
    title = slide.shapes.title
    yield from _blocks(slide.shapes, None if title is None else title.element)
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        yield from _paragraphs(slide.notes_slide.notes_text_frame)


def _blocks(shapes: Iterable[Any], title: Any) -> Iterator[str]:
    """The shapes' text in the slide's order, which is the order in which it is read out."""
    for shape in shapes:
        if shape.element is title or (shape.is_placeholder and shape.placeholder_format.type in _NOISE):
            continue
        if isinstance(shape, GroupShape):
            yield from _blocks(shape.shapes, title)
        elif shape.has_table:
            yield from tables(row(cell.text for cell in cells.cells) for cells in shape.table.rows)
        elif shape.has_chart:
            yield from _chart(shape.chart)
        elif not shape.has_text_frame:
            yield from _diagram(shape)
        else:
            paragraphs = [*_paragraphs(shape.text_frame)]
            yield from paragraphs if len(paragraphs) == 1 or not shape.is_placeholder else [_list(shape.text_frame)]


def _chart(chart: Any) -> Iterator[str]:
    """The chart's title, then its figures as tables: a row for each category, a column for each series."""
    if chart.has_title and chart.chart_title.has_text_frame:
        yield from _paragraphs(chart.chart_title.text_frame)
    # Read from the XML, which is alike for all kinds of chart. python-pptx knows no three-dimensional ones.
    for plot in _findall(chart._chartSpace, ".//c:plotArea/*[c:ser]"):
        series = _findall(plot, "c:ser")
        columns = [
            ["", *_points(series[0], "c:cat", "c:xVal")],
            *(["".join(_points(each, "c:tx")), *map(_number, _points(each, "c:val", "c:yVal"))] for each in series),
        ]
        yield from tables(map(row, zip_longest(*columns, fillvalue="")))


def _points(series: Any, *names: str) -> list[str]:
    """The texts or figures that a chart keeps of its workbook under one of these elements; "" for a missing one."""
    for name in names:
        # Of categories in several levels the first level names the points themselves.
        for cached in _findall(series, f"{name}//*[self::c:strCache or self::c:numCache or self::c:lvl]")[:1]:
            points = {int(point.get("idx")): point.findtext("{*}v") or "" for point in _findall(cached, "c:pt")}
            return [points.get(index, "") for index in range(min(max(points, default=-1) + 1, _POINTS))]
        literal = series.findtext(f"{{*}}{name.removeprefix('c:')}/{{*}}v")
        if literal:
            return [literal]
    return []


def _findall(element: Any, path: str) -> list[Any]:
    return list(etree.XPath(path, namespaces=_NAMESPACES)(element))


def _number(value: str) -> str:
    try:
        return f"{float(value):.15g}"
    except ValueError:
        return value


def _diagram(shape: Any) -> Iterator[str]:
    """The texts of a SmartArt diagram, in the order in which it keeps them."""
    for relation in _findall(shape.element, ".//dgm:relIds/@r:dm"):
        model = xml(shape.part.related_part(relation).blob)
        for paragraph in _findall(model, "//dgm:pt//a:p"):
            if text := _line("".join(_findall(paragraph, ".//a:t/text()"))):
                yield text


def _paragraphs(frame: Any) -> Iterator[str]:
    return (text for paragraph in frame.paragraphs if (text := _line(paragraph.text)))


def _list(frame: Any) -> str:
    lines = ((paragraph.level, _line(paragraph.text)) for paragraph in frame.paragraphs)
    return "\n".join(f"{'  ' * level}- {text}" for level, text in lines if text)


def _line(text: str) -> str:
    return " ".join(text.split())
