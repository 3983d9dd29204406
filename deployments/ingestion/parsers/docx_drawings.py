"""Makes what is drawn in a Word document text of it: text boxes, charts and diagrams. The rest is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from lxml import etree

from deployments.ingestion.omissions import Omission
from deployments.ingestion.parsers import charts
from deployments.ingestion.parsers.docx_numbering import W
from deployments.ingestion.parsers.tables import Row

_MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_V = "{urn:schemas-microsoft-com:vml}"
_SHAPES = tuple(f"{_V}{name}" for name in ("oval", "arc", "curve", "line", "polyline", "image"))
_R = f"{{{charts.NAMESPACES['r']}}}"
_BOX = f"{W}txbxContent"
_CHARTS = tuple(f"{{{charts.NAMESPACES[prefix]}}}chart" for prefix in ("c", "cx"))
_DIAGRAM = f"{{{charts.NAMESPACES['dgm']}}}relIds"
_OBJECT = f"{W}object"
_TEXTS = (_BOX, *_CHARTS, _DIAGRAM)

Related = Callable[[str], etree._Element | None]
"""Relationship id → the root of the part that it names."""


def choose(body: etree._Element) -> None:
    """Of each drawing in a new form and an old one, leave one: the new one if it has more than pictures."""
    for both in [*body.iter(f"{_MC}AlternateContent")]:
        chosen = both.find(f"{_MC}Choice")
        if chosen is None or next(chosen.iter(*_TEXTS, _OBJECT), None) is None:
            chosen = both.find(f"{_MC}Fallback")
        parent = both.getparent()
        if parent is not None:
            index = parent.index(both)
            parent[index : index + 1] = [] if chosen is None else [*chosen]


def write_word_art(part: etree._Element) -> None:
    """Put the text of each decorated text, such as a watermark, in a box in its place. Make all old shapes ones that
    mammoth reads."""
    for shape in part.iter(*_SHAPES):
        shape.tag = f"{_V}shape"
    for art in [*part.iter(f"{_V}textpath")]:
        text, shape = art.get("string", "").strip(), art.getparent()
        if text and shape is not None:
            box = etree.Element(f"{_V}textbox")
            box.append(_box([text]))
            shape[shape.index(art)] = box


def take_out_objects(body: etree._Element) -> int:
    """Remove other programs' data, with its previews. Returns how many there were."""
    objects = [*body.iter(_OBJECT)]
    for element in objects:
        if (parent := element.getparent()) is not None:
            parent.remove(element)
    return len(objects)


def write_drawings(body: etree._Element, related: Related, croatian: bool) -> Counter[Omission]:
    """Put the text of each drawing in its place, in a box of the old form, which is the one that mammoth reads.

    Returns how many charts had no figures, and how many diagrams no text.
    """
    left_out: Counter[Omission] = Counter()
    for drawing in [*body.iter(f"{W}drawing")]:
        boxes = [*_boxes(drawing, related, croatian, left_out)]
        parent = drawing.getparent()
        if not boxes or parent is None:
            continue
        picture = etree.Element(f"{W}pict")
        etree.SubElement(picture, f"{_V}textbox").extend(boxes)
        parent[parent.index(drawing)] = picture
    return left_out


def _boxes(
    drawing: etree._Element, related: Related, croatian: bool, left_out: Counter[Omission]
) -> Iterator[etree._Element]:
    """The text boxes, charts and diagrams of a drawing, each as a text box."""
    for element in [*drawing.iter(*_TEXTS)]:
        if next(element.iterancestors(_BOX, f"{W}drawing")) is not drawing:
            continue  # it is in a box of this drawing
        if element.tag == _BOX:
            yield element
        elif element.tag == _DIAGRAM:
            model = related(element.get(f"{_R}dm", ""))
            texts = [] if model is None else [*charts.diagram(model)]
            left_out["diagram"] += not texts
            yield _box(texts)
        else:
            space = related(element.get(f"{_R}id", ""))
            figures = [] if space is None else [*charts.figures(space, croatian)]
            left_out["chart"] += not figures
            yield _box([*([] if space is None else charts.titles(space)), *figures])


def _box(blocks: Sequence[str | list[Row]]) -> etree._Element:
    box = etree.Element(_BOX)
    box.extend(_paragraph(block) if isinstance(block, str) else _table(block) for block in blocks)
    return box


def _paragraph(text: str) -> etree._Element:
    paragraph = etree.Element(f"{W}p")
    etree.SubElement(etree.SubElement(paragraph, f"{W}r"), f"{W}t").text = text
    return paragraph


def _table(rows: Sequence[Row]) -> etree._Element:
    table = etree.Element(f"{W}tbl")
    columns = range(max((column for row in rows for column in row), default=-1) + 1)
    for row in filter(None, rows):
        line = etree.SubElement(table, f"{W}tr")
        for column in columns:
            etree.SubElement(line, f"{W}tc").append(_paragraph(row.get(column, "")))
    return table
