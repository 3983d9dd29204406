from __future__ import annotations

import io
from dataclasses import replace
from datetime import datetime

import openpyxl
import pytest

from deployments.errors import DocumentTooLarge
from deployments.ingestion.parsers.limits import Limits
from deployments.ingestion.parsers.xlsx import parse_xlsx
from tests.support.documents import make_xlsx


def test_sheets_are_headings_above_their_tables(limits: Limits) -> None:
    sheets: dict[str, list[list[object]]] = {
        "Cjenik 2025": [
            ["Cjenik usluga"],
            [],
            [None, "Usluga", "Cijena", "Od"],
            [None, "Pregled | prvi", 0.1 + 0.2, datetime.fromisoformat("2025-01-31")],
            [None, "Kontrola\nu tjednu", 20, datetime.fromisoformat("2025-02-01T08:30")],
        ],
        "Prazan": [],
        "Napomene": [["Članak 5."], ["Vrijedi od 2025."]],
    }
    document = parse_xlsx(make_xlsx(sheets, title="Cjenik"), limits)
    assert document.title == "Cjenik"
    assert document.pages == ()
    assert document.text == (
        "## Cjenik 2025\n\nCjenik usluga\n\n"
        "| Usluga | Cijena | Od |\n| --- | --- | --- |\n"
        "| Pregled \\| prvi | 0.3 | 2025-01-31 |\n| Kontrola u tjednu | 20 | 2025-02-01 08:30:00 |\n\n"
        "## Napomene\n\nČlanak 5.\nVrijedi od 2025."
    )


def test_hidden_sheets_are_left_out(limits: Limits) -> None:
    book = openpyxl.load_workbook(io.BytesIO(make_xlsx({"Vidljiv": [["a"]], "Skriven": [["b"]]})))
    book["Skriven"].sheet_state = "hidden"
    buffer = io.BytesIO()
    book.save(buffer)
    assert parse_xlsx(buffer.getvalue(), limits).text == "## Vidljiv\n\na"


def test_the_text_limit_holds_while_reading(limits: Limits) -> None:
    data = make_xlsx({"A": [[f"redak {n}", "x" * 50] for n in range(2000)]})
    assert len(parse_xlsx(data, limits).text) > 100_000
    with pytest.raises(DocumentTooLarge, match="more than 10,000 characters"):
        parse_xlsx(data, replace(limits, text_characters=10_000))
