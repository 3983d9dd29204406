from __future__ import annotations

import io
from dataclasses import replace

import pptx
import pytest
from pptx.chart.data import CategoryChartData
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
