from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import replace

import pptx
import pytest
from pptx.chart.data import CategoryChartData, XyChartData
from pptx.enum.chart import XL_CHART_TYPE

from deployments.errors import DocumentTooLarge
from deployments.ingestion.parsers.limits import Limits
from deployments.ingestion.parsers.pptx import parse_pptx
from tests.support.documents import make_pptx


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
