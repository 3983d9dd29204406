"""PPTX files: lists, groups, tables, charts, diagrams, equations, notes, and slides that are hidden."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pptx
from lxml import etree
from pptx.chart.data import CategoryChartData, XyChartData
from pptx.enum.chart import XL_CHART_TYPE

from benchmarks.office.seen import Document, strict
from tests.support.documents import with_members

_A = "http://schemas.openxmlformats.org/drawingml/2006/main"
_P = "http://schemas.openxmlformats.org/presentationml/2006/main"
_FRAME = (0, 0, 10**6, 10**6)
_TITLE, _BULLETS, _TITLE_ONLY, _BLANK = 0, 1, 5, 6
"""Layouts of the library's template."""


def documents() -> Iterator[Document]:
    for make in (_lecture, _groups, _table, _charts, _diagram, _equation, _hidden_slide, _strict_form):
        yield make()


def _saved(deck: Any) -> bytes:
    buffer = io.BytesIO()
    deck.save(buffer)
    return buffer.getvalue()


def _slide(deck: Any, layout: int, title: str = "") -> Any:
    slide = deck.slides.add_slide(deck.slide_layouts[layout])
    if title:
        slide.shapes.title.text = title
    return slide


def _lecture() -> Document:
    """A title with subtitle, nested bullets, a list that PowerPoint numbers, and what the speaker notes."""
    deck = pptx.Presentation()
    first = _slide(deck, _TITLE, "Zaštita od požara")
    first.placeholders[1].text = "Vatrogasna zajednica Međimurske županije"
    second = _slide(deck, _BULLETS, "Uzroci požara")
    frame = second.placeholders[1].text_frame
    frame.text = "nepažnja"
    for level, content in ((1, "opušci uz cestu"), (1, "spaljivanje korova"), (0, "kvar na instalacijama")):
        line = frame.add_paragraph()
        line.text, line.level = content, level
    second.notes_slide.notes_text_frame.text = "Spomenuti požar na Hvaru prošlog kolovoza."
    third = _slide(deck, _BULLETS, "Postupak")
    frame = third.placeholders[1].text_frame
    frame.text = "nazvati broj 193"
    frame.add_paragraph().text = "udaljiti djecu"
    for line in frame.paragraphs:
        etree.SubElement(line._p.get_or_add_pPr(), f"{{{_A}}}buAutoNum", {"type": "arabicPeriod"})
    seen = """
    Zaštita od požara
    Vatrogasna zajednica Međimurske županije
    Uzroci požara
    nepažnja opušci uz cestu spaljivanje korova kvar na instalacijama
    Spomenuti požar na Hvaru prošlog kolovoza.
    Postupak
    1. nazvati broj 193
    2. udaljiti djecu
    """
    return Document("pptx-lists-and-notes", "pozar.pptx", _saved(deck), seen)


def _groups() -> Document:
    """Text boxes in groups within groups, and lines broken within a paragraph."""
    deck = pptx.Presentation()
    slide = _slide(deck, _TITLE_ONLY, "Ustroj ureda")
    outer = slide.shapes.add_group_shape()
    outer.shapes.add_textbox(*_FRAME).text_frame.text = "Gradonačelnica"
    inner = outer.shapes.add_group_shape()
    for content in ("Odjel za financije", "Odjel za komunalije"):
        inner.shapes.add_textbox(*_FRAME).text_frame.text = content
    slide.shapes.add_textbox(*_FRAME).text_frame.text = "Vrijedi od\v1. ožujka"
    seen = """
    Ustroj ureda Gradonačelnica Odjel za financije Odjel za komunalije Vrijedi od 1. ožujka
    """
    return Document("pptx-groups", "ustroj.pptx", _saved(deck), seen)


def _table() -> Document:
    """A table with cells merged over rows and over columns."""
    deck = pptx.Presentation()
    slide = _slide(deck, _TITLE_ONLY, "Raspored vježbi")
    rows = (
        ("Dan", "Sat", "Dvorana"),
        ("utorak", "9.00", "Vijećnica"),
        ("", "11.00", "Arhiv"),
        ("Bez nastave petkom", "", ""),
    )
    grid = slide.shapes.add_table(len(rows), 3, *_FRAME).table
    for number, cells in enumerate(rows):
        for column, content in enumerate(cells):
            grid.cell(number, column).text = content
    grid.cell(1, 0).merge(grid.cell(2, 0))
    grid.cell(3, 0).merge(grid.cell(3, 2))
    seen = """
    Raspored vježbi
    Dan Sat Dvorana utorak 9.00 Vijećnica 11.00 Arhiv Bez nastave petkom
    """
    return Document("pptx-table", "raspored.pptx", _saved(deck), seen)


def _charts() -> Document:
    """Charts with titles of the chart and of its axes; the figures stand beside the bars in their format."""
    deck = pptx.Presentation()
    slide = _slide(deck, _TITLE_ONLY, "Iskorištenost bazena")
    data = CategoryChartData(number_format="0%")
    data.categories = ["zima", "ljeto"]
    data.add_series("Udio termina", (0.42, 0.985))
    chart = slide.shapes.add_chart(XL_CHART_TYPE.BAR_CLUSTERED, *_FRAME, data).chart
    chart.has_title = True
    chart.chart_title.text_frame.text = "Popunjenost po sezonama"
    chart.value_axis.has_title = True
    chart.value_axis.axis_title.text_frame.text = "postotak termina"
    chart.plots[0].has_data_labels = True
    points = XyChartData()
    series = points.add_series("Dubina i tlak")
    for place in ((1, 1.1), (3, 1.3)):
        series.add_data_point(*place)
    slide = _slide(deck, _TITLE_ONLY, "Mjerenje šćepom")
    slide.shapes.add_chart(XL_CHART_TYPE.XY_SCATTER, *_FRAME, points)
    seen = """
    Iskorištenost bazena
    Popunjenost po sezonama
    postotak termina
    Udio termina zima 42% ljeto 99%
    Mjerenje šćepom
    Dubina i tlak 1 1,1 3 1,3
    """
    return Document("pptx-charts", "bazen.pptx", _saved(deck), seen)


def _with_shape(deck: Any, shape: str) -> bytes:
    """The deck with a shape at the end of its first slide, as XML."""
    data = _saved(deck)
    slide = etree.tostring(deck.slides[0].element, encoding="unicode")
    return with_members(data, {"ppt/slides/slide1.xml": slide.replace("</p:spTree>", f"{shape}</p:spTree>")})


def _diagram() -> Document:
    """A SmartArt diagram."""
    deck = pptx.Presentation()
    _slide(deck, _TITLE_ONLY, "Put računa")
    diagram = "http://schemas.openxmlformats.org/drawingml/2006/diagram"
    relation = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    shape = (
        '<p:graphicFrame><p:nvGraphicFramePr><p:cNvPr id="9" name="d"/><p:cNvGraphicFramePr/><p:nvPr/>'
        f'</p:nvGraphicFramePr><p:xfrm/><a:graphic><a:graphicData uri="{diagram}"><dgm:relIds xmlns:dgm="{diagram}" '
        f'xmlns:r="{relation}" r:dm="rId9"/></a:graphicData></a:graphic></p:graphicFrame>'
    )
    points = "".join(
        f"<dgm:pt><dgm:t><a:p><a:r><a:t>{each}</a:t></a:r></a:p></dgm:t></dgm:pt>"
        for each in ("zaprimanje u pisarnici", "ovjera voditelja", "isplata iz riznice")
    )
    data = _with_shape(deck, shape)
    relations = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f'<Relationship Id="rId1" Type="{relation}/slideLayout" Target="../slideLayouts/slideLayout6.xml"/>'
        f'<Relationship Id="rId9" Type="{relation}/diagramData" Target="../diagrams/data1.xml"/></Relationships>'
    )
    parts = {
        "ppt/slides/_rels/slide1.xml.rels": relations,
        "ppt/diagrams/data1.xml": (
            f'<dgm:dataModel xmlns:dgm="{diagram}" xmlns:a="{_A}"><dgm:ptLst>{points}</dgm:ptLst></dgm:dataModel>'
        ),
    }
    seen = "Put računa zaprimanje u pisarnici ovjera voditelja isplata iz riznice"
    return Document("pptx-diagram", "racun.pptx", with_members(data, parts), seen)


def _equation() -> Document:
    """A text with an equation, which PowerPoint writes beside a picture for older programs."""
    deck = pptx.Presentation()
    _slide(deck, _TITLE_ONLY, "Izračun naknade")
    math = "http://schemas.openxmlformats.org/officeDocument/2006/math"

    def shape(content: str) -> str:
        return (
            '<p:sp><p:nvSpPr><p:cNvPr id="7" name="t"/><p:cNvSpPr txBox="1"/><p:nvPr/></p:nvSpPr><p:spPr/>'
            f"<p:txBody><a:bodyPr/><a:p>{content}</a:p></p:txBody></p:sp>"
        )

    fraction = (
        f'<a14:m xmlns:a14="http://schemas.microsoft.com/office/drawing/2010/main"><m:oMath xmlns:m="{math}">'
        "<m:f><m:num><m:r><m:t>površina</m:t></m:r></m:num><m:den><m:r><m:t>2</m:t></m:r></m:den></m:f></m:oMath></a14:m>"
    )
    said = f"<a:r><a:t>Naknada je </a:t></a:r>{fraction}<a:r><a:t> po parceli.</a:t></a:r>"
    both = (
        '<mc:AlternateContent xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006">'
        f'<mc:Choice xmlns:a14="http://schemas.microsoft.com/office/drawing/2010/main" Requires="a14">{shape(said)}'
        f"</mc:Choice><mc:Fallback>{shape('<a:r><a:t> </a:t></a:r>')}</mc:Fallback></mc:AlternateContent>"
    )
    seen = "Izračun naknade Naknada je površina 2 po parceli."
    return Document("pptx-equation", "naknada.pptx", _with_shape(deck, both), seen)


def _hidden_slide() -> Document:
    """A slide that is not shown, between two that are; the last has no title but a date, foot and number."""
    deck = pptx.Presentation()
    _slide(deck, _BULLETS, "Dobrodošli").placeholders[1].text = "Čitaonica je na katu."
    hidden = _slide(deck, _BULLETS, "Rezerva")
    hidden.placeholders[1].text = "Ne pokazivati."
    hidden.element.set("show", "0")
    last = _slide(deck, _BLANK)
    last.shapes.add_textbox(*_FRAME).text_frame.text = "Hvala na pažnji!"
    for number, kind in enumerate(("dt", "ftr", "sldNum")):
        source = next(
            each for each in last.slide_layout.placeholders if each.element.find(f".//{{{_P}}}ph").get("type") == kind
        )
        copy = etree.fromstring(etree.tostring(source.element))
        for each in copy.iter(f"{{{_A}}}t"):
            each.text = ("5.5.2025.", "Knjižnica Čakovec", "3")[number]
        last.shapes._spTree.append(copy)
    seen = "Dobrodošli Čitaonica je na katu. Hvala na pažnji!"
    return Document("pptx-hidden-slide", "citaonica.pptx", _saved(deck), seen)


def _strict_form() -> Document:
    deck = pptx.Presentation()
    slide = _slide(deck, _BULLETS, "Godišnji odmor")
    slide.placeholders[1].text = "najmanje četiri tjedna\nrješenje se uručuje petnaest dana ranije"
    seen = "Godišnji odmor najmanje četiri tjedna rješenje se uručuje petnaest dana ranije"
    return Document("pptx-strict", "odmor.pptx", strict(_saved(deck)), seen)
