"""Reads charts and SmartArt diagrams of Office documents. They are kept alike in all three formats."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import zip_longest
from typing import Any

from lxml import etree

from deployments.ingestion.parsers.tables import Row, row

NAMESPACES = {
    "a": "http://schemas.openxmlformats.org/drawingml/2006/main",
    "c": "http://schemas.openxmlformats.org/drawingml/2006/chart",
    "cx": "http://schemas.microsoft.com/office/drawing/2014/chartex",
    "dgm": "http://schemas.openxmlformats.org/drawingml/2006/diagram",
    "p": "http://schemas.openxmlformats.org/presentationml/2006/main",
    "r": "http://schemas.openxmlformats.org/officeDocument/2006/relationships",
}
_POINTS = 100_000
"""Points of one series that are read."""


def find(element: Any, path: str) -> list[Any]:
    """What an XPath with the prefixes of NAMESPACES finds."""
    return list(etree.XPath(path, namespaces=NAMESPACES)(element))


def paragraphs(element: Any) -> Iterator[str]:
    """The texts of DrawingML's paragraphs inside an element, without empty ones."""
    for paragraph in find(element, ".//a:p"):
        pieces = (each.text or "" if each.tag.endswith("}t") else " " for each in find(paragraph, ".//a:t | .//a:br"))
        if text := " ".join("".join(pieces).split()):
            yield text


def figures(space: Any, croatian: bool) -> Iterator[list[Row]]:
    """The chart's figures as tables: a row for each category, a column for each series.

    `croatian`: figures are written as in Croatia, as their formats say.
    """
    # Read from the XML, which is alike for all kinds of chart. python-pptx knows no three-dimensional ones.
    for plot in find(space, ".//c:plotArea/*[c:ser]"):
        series = find(plot, "c:ser")
        columns = [
            ["", *_points(series[0], croatian, "c:cat", "c:xVal")],
            *(
                ["".join(_points(each, croatian, "c:tx")), *_points(each, croatian, "c:val", "c:yVal")]
                for each in series
            ),
        ]
        yield [row(cells) for cells in zip_longest(*columns, fillvalue="")]
    for data in find(space, ".//cx:chartData/cx:data"):
        levels = find(data, "cx:strDim/cx:lvl[1] | cx:numDim/cx:lvl[1]")
        columns = [[each.text or "" for each in find(level, "cx:pt")][:_POINTS] for level in levels]
        yield [row(cells) for cells in zip_longest(*columns, fillvalue="")]


def titles(space: Any) -> Iterator[str]:
    """The chart's title, and those of its axes."""
    for title in find(space, ".//c:title | .//cx:title"):
        yield from paragraphs(title)
        yield from (text for cached in find(title, ".//c:strCache//c:v") if (text := (cached.text or "").strip()))


def _points(series: Any, croatian: bool, *names: str) -> list[str]:
    """The texts or figures that a chart keeps of its workbook under one of these elements; "" for a missing one."""
    for name in names:
        # Of categories in several levels the first level names the points themselves.
        for cached in find(series, f"{name}//*[self::c:strCache or self::c:numCache or self::c:lvl]")[:1]:
            number_format = cached.findtext("{*}formatCode") or "General"
            points: dict[int, str] = {}
            for point in find(cached, "c:pt"):
                value = point.findtext("{*}v") or ""
                if cached.tag.endswith("}numCache"):
                    value = _number(value, point.get("formatCode") or number_format, croatian)
                points[int(point.get("idx"))] = value
            return [points.get(index, "") for index in range(min(max(points, default=-1) + 1, _POINTS))]
        literal = series.findtext(f"{{*}}{name.removeprefix('c:')}/{{*}}v")
        if literal:
            return [literal]
    return []


def _number(value: str, number_format: str, croatian: bool) -> str:
    try:
        number = float(value)
    except ValueError:
        return value
    if number_format == "General":
        return f"{number:.15g}"
    # Imported here, because most charts have no formats and openpyxl takes a while to import.
    from openpyxl.styles.numbers import is_date_format
    from openpyxl.utils.datetime import from_excel

    from deployments.ingestion.parsers.xlsx_formats import shown

    with suppress(ValueError, OverflowError):
        return shown(from_excel(number) if is_date_format(number_format) else number, number_format, croatian)
    return value


def diagram(model: Any) -> Iterator[str]:
    """The texts of a SmartArt diagram, in the order in which it keeps them."""
    for point in find(model, "//dgm:pt"):
        yield from paragraphs(point)
