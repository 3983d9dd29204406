from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import pptx
import pytest
from pptx.chart.data import CategoryChartData, XyChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.oxml import parse_xml
from pptx.util import Inches

from deployments.errors import DocumentTooLarge
from deployments.ingestion.omissions import warnings
from deployments.ingestion.parsers.limits import Limits
from deployments.ingestion.parsers.pptx import parse_pptx
from tests.support.documents import make_picture, make_pptx, with_members

_DRAWING = "http://schemas.openxmlformats.org/drawingml/2006/main"


def test_slides_are_pages_under_their_titles_with_tables_and_notes(limits: Limits) -> None:
    slides = [("Pravilnik", ["Uvod u pravilnik"]), ("", ["Bez naslova"]), ("Rokovi", ["Žalba", "Tužba"])]
    document = parse_pptx(make_pptx(slides, notes="Reći polako.", table=[["Rok", "Dana"], ["žalba", "15|16"]]), limits)
    assert document.title == "Pravilnik"
    assert document.text == (
        "## Pravilnik\n\nUvod u pravilnik\n\n## Slide 2\n\nBez naslova\n\n## Rokovi\n\n- Žalba\n- Tužba\n\n"
        "| Rok | Dana |\n| --- | --- |\n| žalba | 15\\|16 |\n\nReći polako."
    )
    begins = {page: document.text[offset:].lstrip(" .\n").partition("\n")[0] for offset, page in document.pages}
    assert begins == {1: "## Pravilnik", 2: "## Slide 2", 3: "## Rokovi"}


def test_hidden_slides_keep_their_number_and_are_left_out(limits: Limits) -> None:
    deck = pptx.Presentation(io.BytesIO(make_pptx([("Prvi", ["a"]), ("Skriven", ["b"]), ("Treći", ["c"])])))
    deck.slides[1].element.set("show", "0")
    buffer = io.BytesIO()
    deck.save(buffer)
    document = parse_pptx(buffer.getvalue(), limits)
    assert document.text == "## Prvi\n\na\n\n## Treći\n\nc"
    assert [page for _, page in document.pages] == [1, 3]
    assert warnings(document.left_out) == ("1 hidden slide",)


def test_a_chart_is_its_figures(limits: Limits) -> None:
    deck = pptx.Presentation()
    data = CategoryChartData()
    data.categories = ["2024", "2025"]
    data.add_series("Žalbe", (12, 15.5))
    chart = deck.slides.add_slide(deck.slide_layouts[6]).shapes.add_chart(
        XL_CHART_TYPE.COLUMN_CLUSTERED, 0, 0, 10**6, 10**6, data
    )
    chart.chart.has_title = True
    chart.chart.chart_title.text_frame.text = "Po godini"
    buffer = io.BytesIO()
    deck.save(buffer)
    assert parse_pptx(buffer.getvalue(), limits).text == (
        "## Slide 1\n\nPo godini\n\n|  | Žalbe |\n| --- | --- |\n| 2024 | 12 |\n| 2025 | 15.5 |"
    )


def test_slides_are_bounded(limits: Limits) -> None:
    data = make_pptx([("Slajd", ["tekst"])] * 3)
    assert parse_pptx(data, replace(limits, pages=3)).pages
    with pytest.raises(DocumentTooLarge, match="more than 2 pages"):
        parse_pptx(data, replace(limits, pages=2))


def changed(data: bytes, name: str, *replacements: tuple[bytes, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        for member in old.namelist():
            content = old.read(member)
            if member.startswith(name):
                for before, after in replacements:
                    assert before in content
                    content = content.replace(before, after)
            new.writestr(member, content)
    return buffer.getvalue()


def deck_with_chart(kind: XL_CHART_TYPE, data: CategoryChartData | XyChartData) -> bytes:
    deck = pptx.Presentation()
    deck.slides.add_slide(deck.slide_layouts[6]).shapes.add_chart(kind, 0, 0, 10**6, 10**6, data)
    buffer = io.BytesIO()
    deck.save(buffer)
    return buffer.getvalue()


def figures() -> CategoryChartData:
    data = CategoryChartData()
    data.categories = ["2024", "2025", "2026"]
    data.add_series("Prihod", (222, None, 1.5))
    return data


TABLE = "## Slide 1\n\n|  | Prihod |\n| --- | --- |\n| 2024 | 222 |\n| 2025 |  |\n| 2026 | 1.5 |"


def test_a_chart_in_three_dimensions_is_its_figures(limits: Limits, case: Callable[[str], bytes]) -> None:
    data = deck_with_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, figures())
    data = changed(data, "ppt/charts/chart", (b"c:barChart", b"c:bar3DChart"))
    assert parse_pptx(data, limits).text == TABLE
    assert "222 eura" in parse_pptx(case("pptx-3d-chart.pptx"), limits).text


def test_a_chart_of_points_and_one_of_no_known_kind(limits: Limits) -> None:
    points = XyChartData()
    series = points.add_series("Mjerenje")
    series.add_data_point(1, 2.5)
    series.add_data_point(2, 4)
    assert parse_pptx(deck_with_chart(XL_CHART_TYPE.XY_SCATTER, points), limits).text == (
        "## Slide 1\n\n|  | Mjerenje |\n| --- | --- |\n| 1 | 2.5 |\n| 2 | 4 |"
    )
    unknown = changed(deck_with_chart(XL_CHART_TYPE.PIE, figures()), "ppt/charts/chart", (b"c:pieChart", b"c:newChart"))
    assert parse_pptx(unknown, limits).text == TABLE


def test_a_pictures_text_stands_in_its_place_and_what_has_none_is_counted(limits: Limits) -> None:
    deck = pptx.Presentation()
    shapes = deck.slides.add_slide(deck.slide_layouts[6]).shapes
    for description in ("Shema pogona", "", "slika 1.png"):
        picture = shapes.add_picture(io.BytesIO(make_picture()), 0, 0)
        picture._element.nvPicPr.cNvPr.set("descr", description)
    shapes.add_group_shape().shapes.add_picture(io.BytesIO(make_picture()), 0, 0)._element.nvPicPr.cNvPr.set(
        "descr", ""
    )
    shapes.add_movie(io.BytesIO(b"video"), 0, 0, 10, 10, io.BytesIO(make_picture()), "video/mp4")
    shapes.add_ole_object(io.BytesIO(b"data"), "Package", 0, 0, icon_file=io.BytesIO(make_picture()))
    buffer = io.BytesIO()
    deck.save(buffer)
    document = parse_pptx(buffer.getvalue(), limits)
    assert document.text == "## Slide 1\n\nShema pogona"
    assert warnings(document.left_out) == ("3 pictures without text", "1 sound or video", "1 embedded object")


def test_a_chart_without_figures_is_counted_and_one_with_figures_is_read(limits: Limits) -> None:
    deck = pptx.Presentation()
    shapes = deck.slides.add_slide(deck.slide_layouts[6]).shapes
    data = CategoryChartData()
    data.categories = ["2024"]
    data.add_series("Žalbe", (12,))
    for title in ("S podacima", "Bez podataka"):
        chart = shapes.add_chart(XL_CHART_TYPE.PIE, 0, 0, 10**6, 10**6, data).chart
        chart.has_title = True
        chart.chart_title.text_frame.text = title
    [plot] = chart._chartSpace.xpath(".//c:pieChart")
    plot.remove(plot.xpath("c:ser")[0])
    buffer = io.BytesIO()
    deck.save(buffer)
    document = parse_pptx(buffer.getvalue(), limits)
    assert "Bez podataka" in document.text
    assert warnings(document.left_out) == ("1 chart",)


def test_a_list_that_powerpoint_numbers_has_its_numbers(limits: Limits) -> None:
    deck = pptx.Presentation()
    frame = deck.slides.add_slide(deck.slide_layouts[1]).placeholders[1].text_frame
    lines = (
        (0, "prvo", 'type="arabicPeriod"'),
        (1, "pod prvim", 'type="alphaLcParenR"'),
        (1, "opet", 'type="alphaLcParenR"'),
        (0, "drugo", 'type="arabicPeriod"'),
        (1, "pod drugim", 'type="alphaLcParenR"'),
        (0, "", 'type="arabicPeriod"'),
        (0, "treće", 'type="arabicPeriod"'),
        (0, "bez broja", ""),
        (0, "od četiri", 'type="romanUcParenBoth" startAt="4"'),
        (0, "nepoznato", 'type="circleNumDbPlain"'),
    )
    frame.text = "\n".join(text for _, text, _ in lines)
    for paragraph, (level, _, numbers) in zip(frame.paragraphs, lines, strict=True):
        paragraph.level = level
        if numbers:
            paragraph._p.get_or_add_pPr().append(parse_xml(f'<a:buAutoNum xmlns:a="{_DRAWING}" {numbers}/>'))
    buffer = io.BytesIO()
    deck.save(buffer)
    assert parse_pptx(buffer.getvalue(), limits).text.split("\n")[2:] == [
        "1. prvo",
        "  a) pod prvim",
        "  b) opet",
        "2. drugo",
        "  a) pod drugim",
        "3. treće",
        "- bez broja",
        "(IV) od četiri",
        "- nepoznato",
    ]


def test_a_text_with_an_equation_is_read(limits: Limits) -> None:
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[6])
    slide.shapes.add_textbox(0, 0, 10**6, 10**6).text_frame.text = "Naknada je EQUATION po parceli."
    buffer = io.BytesIO()
    deck.save(buffer)
    name = "ppt/slides/slide1.xml"
    with zipfile.ZipFile(buffer) as archive:
        tree = archive.read(name).decode()
    begin, end = tree.index("<p:sp>"), tree.index("</p:sp>") + len("</p:sp>")
    shape = tree[begin:end]
    equation = (
        '</a:t></a:r><a14:m xmlns:a14="http://schemas.microsoft.com/office/drawing/2010/main"><m:oMathPara xmlns:m='
        '"http://schemas.openxmlformats.org/officeDocument/2006/math"><m:oMath><m:f><m:num><m:r><m:t>P</m:t></m:r></m:num>'
        "<m:den><m:r><m:t>2</m:t></m:r></m:den></m:f></m:oMath></m:oMathPara></a14:m><a:r><a:t>"
    )
    both = (
        '<mc:AlternateContent xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006">'
        f"<mc:Choice>{shape.replace('EQUATION', equation)}</mc:Choice>"
        f"<mc:Fallback>{shape.replace('Naknada je EQUATION po parceli.', 'slika')}</mc:Fallback></mc:AlternateContent>"
    )
    data = with_members(buffer.getvalue(), {name: tree[:begin] + both + tree[end:]})
    assert parse_pptx(data, limits).text == "## Slide 1\n\nNaknada je P/2 po parceli."


def test_titles_of_axes_and_formats_of_figures_are_as_seen(limits: Limits) -> None:
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    slide.shapes.title.text = "Šetnje"
    data = CategoryChartData(number_format="0.0%")
    data.categories = [date(2025, 3, 1), date(2025, 4, 1)]
    data.add_series("Udio", (0.425, 1))
    chart = slide.shapes.add_chart(XL_CHART_TYPE.LINE, 0, 0, 10**6, 10**6, data).chart
    chart.value_axis.has_title = True
    chart.value_axis.axis_title.text_frame.text = "postotak"
    buffer = io.BytesIO()
    deck.save(buffer)
    assert parse_pptx(buffer.getvalue(), limits).text == (
        "## Šetnje\n\npostotak\n\n|  | Udio |\n| --- | --- |\n| 2025-03-01 | 42,5% |\n| 2025-04-01 | 100,0% |"
    )


@pytest.mark.parametrize(
    ("boxes", "text"),
    [
        ([("dolje", 1, 4), ("gore", 1, 1)], "gore dolje"),
        ([("desno", 5, 1), ("lijevo", 1, 1)], "lijevo desno"),
        ([("c", 1, 3), ("d", 5, 3), ("b", 5, 1.1), ("a", 1, 1)], "a b c d"),  # heights of a row differ a little
        ([("desno", 5, 1, 6), ("lijevo dolje", 1, 4), ("lijevo gore", 1, 1)], "lijevo gore lijevo dolje desno"),
    ],
)
def test_shapes_are_read_from_the_top_and_the_left(limits: Limits, boxes: Sequence[tuple[Any, ...]], text: str) -> None:
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    for word, left, top, *height in boxes:
        slide.shapes.add_textbox(Inches(left), Inches(top), Inches(3), Inches(*height or (1,))).text = word
    slide.shapes.title.text = "Naslov"
    buffer = io.BytesIO()
    deck.save(buffer)
    assert " ".join(parse_pptx(buffer.getvalue(), limits).text.split()) == f"## Naslov {text}"


def test_comments_on_slides_are_counted(limits: Limits) -> None:
    space = "http://schemas.openxmlformats.org/presentationml/2006/main"
    comment = f'<p:cmLst xmlns:p="{space}"><p:cm authorId="0" idx="1"><p:text>tajno</p:text></p:cm></p:cmLst>'
    data = with_members(make_pptx([("Naslov", ["tekst"])]), {"ppt/comments/comment1.xml": comment})
    document = parse_pptx(data, limits)
    assert "tajno" not in document.text
    assert warnings(document.left_out) == ("1 comment",)
