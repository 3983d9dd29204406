"""What is filled into a form is text of the page."""

from __future__ import annotations

from collections.abc import Callable

from deployments.ingestion.parsers.limits import Limits
from deployments.ingestion.parsers.pdf import parse_pdf

Case = Callable[[str], bytes]


def test_values_of_fields_are_read(case: Case, limits: Limits) -> None:
    assert parse_pdf(case("pdf-form-values.pdf"), limits).text == "Obrazac prijave\n\nVrijednost polja Marko"


def test_each_kind_of_field_stands_beside_its_label(case: Case, limits: Limits) -> None:
    text = parse_pdf(case("pdf-form-kinds.pdf"), limits).text
    assert text.split("\n") == [
        "# Prijava za potporu",
        "",
        "| Ime i prezime: | Ana Anic |",
        "| --- | --- |",
        "| Skola: | OS Brezovica |",
        "| Dijete je upisano: | ☒ |",
        "| Dijete ima rjesenje: | ☐ |",
        "| Napomena: | Prvi redak Drugi redak |",
    ]
    assert "Tajna" not in text
    assert "Skrivena" not in text
