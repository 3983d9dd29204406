"""What stands on many slides is read once, and what is hidden on a slide is counted."""

from __future__ import annotations

import io
from copy import deepcopy
from typing import Any

import pptx
from pptx.util import Inches

from deployments.ingestion.base import ParsedDocument
from deployments.ingestion.omissions import warnings
from deployments.ingestion.parsers.limits import Limits
from deployments.ingestion.parsers.pptx import parse_pptx


def add_text(shapes: Any, text: str) -> Any:
    box = shapes.add_textbox(0, Inches(2), Inches(2), Inches(1))
    box.text_frame.text = text
    return box


def parsed(deck: Any, limits: Limits) -> ParsedDocument:
    buffer = io.BytesIO()
    deck.save(buffer)
    return parse_pptx(buffer.getvalue(), limits)


def test_a_hidden_shape_is_counted(limits: Limits) -> None:
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[6])
    add_text(slide.shapes, "Vidi se")
    add_text(slide.shapes, "dvije riječi")._element.nvSpPr.cNvPr.set("hidden", "1")
    group = slide.shapes.add_group_shape()
    add_text(group.shapes, "treća")
    group._element.nvGrpSpPr.cNvPr.set("hidden", "1")
    document = parsed(deck, limits)
    assert document.text == "## Slide 1\n\nVidi se"
    assert warnings(document.left_out) == ("3 hidden words",)


def test_texts_of_layouts_and_feet_are_read_once(limits: Limits) -> None:
    deck = pptx.Presentation()
    layout = deck.slide_layouts[6]
    for number in (1, 2):
        box = add_text(deck.slides.add_slide(layout).shapes, f"Tekst {number}")
    for holder, text in ((layout, "Povjerljivo"), (layout.slide_master, "Grad Šibenik")):
        holder.shapes._spTree.append(copied := deepcopy(box._element))
        copied.txBody.p_lst[0].r_lst[0].text = text
    for slide in deck.slides:
        for placeholder in layout.placeholders:
            slide.shapes.clone_placeholder(placeholder)
        for placeholder in slide.placeholders:
            placeholder.text_frame.text = f"podnožje {placeholder.placeholder_format.type}".split(" (")[0]
    document = parsed(deck, limits)
    assert document.text == (
        "podnožje FOOTER\n\nPovjerljivo\n\nGrad Šibenik\n\n## Slide 1\n\nTekst 1\n\n## Slide 2\n\nTekst 2"
    )
    assert [page for _, page in document.pages] == [1, 2]


def test_a_slide_or_layout_may_not_show_what_is_behind_it(limits: Limits) -> None:
    deck = pptx.Presentation()
    layout = deck.slide_layouts[6]
    slide = deck.slides.add_slide(layout)
    box = add_text(slide.shapes, "Tekst")
    for holder, text in ((layout, "Povjerljivo"), (layout.slide_master, "Grad Šibenik")):
        holder.shapes._spTree.append(copied := deepcopy(box._element))
        copied.txBody.p_lst[0].r_lst[0].text = text
    layout.element.set("showMasterSp", "0")
    assert parsed(deck, limits).text == "Povjerljivo\n\n## Slide 1\n\nTekst"
    slide.element.set("showMasterSp", "0")
    assert parsed(deck, limits).text == "## Slide 1\n\nTekst"
