from __future__ import annotations

from collections.abc import Callable

import pytest

from deployments.errors import UnsupportedDocument
from deployments.ingestion.parsers.html import parse_html

PAGE = """<!doctype html><html><head><title>Zakon &amp; red</title><style>p{color:red}</style></head><body>
<nav>Izbornik</nav><script>alert(1)</script><!-- skriveno -->
<h1>Zakon</h1><p>Rok za <a href="/x">žalbu</a> je
15 dana.</p><p style="display:none">Nevidljivo</p>
<ul><li>prvo</li><li>drugo</li></ul>
<table><tr><th>Rok</th><th>Dana</th></tr><tr><td>žalba</td><td>15</td></tr></table>
<p>Članak 5.</p><p>a_b * c</p>
<aside>Oglas</aside><footer>Podnožje</footer></body></html>"""


def test_a_page_becomes_markdown_without_what_surrounds_it() -> None:
    document = parse_html(PAGE.encode())
    assert document.title == "Zakon & red"
    assert document.text == (
        "# Zakon\n\nRok za žalbu je 15 dana.\n\n- prvo\n- drugo\n\n"
        "| Rok | Dana |\n| --- | --- |\n| žalba | 15 |\n\n## Članak 5.\n\na_b * c"
    )


def test_main_is_taken_where_it_holds_text() -> None:
    body = "Odluka o žalbi. " * 20
    page = f"<body><div>Kolačići</div><main><p>{body}</p></main></body>"
    assert parse_html(page.encode()).text == body.strip()
    assert "Kolačići" in parse_html(b"<body><div>Kola\xc4\x8di\xc4\x87i</div><main></main></body>").text


def test_a_long_list_of_links_is_navigation_and_a_short_one_is_not() -> None:
    links = "".join(f"<li><a href='#'>veza {n}</a></li>" for n in range(12))
    page = f"<body><p>Tekst</p><ul>{links}</ul><ul><li><a href='#'>kratko</a></li></ul></body>"
    assert parse_html(page.encode()).text == "Tekst\n\n- kratko"


def test_the_declared_encoding_is_used_where_utf8_fails() -> None:
    page = '<meta charset="windows-1250"><p>Žalba šest đaka</p>'
    assert parse_html(page.encode("cp1250")).text == "Žalba šest đaka"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_a_page_in_unicode_needs_no_declaration_and_overrides_one(encoding: str) -> None:
    page = '<html><head><meta charset="windows-1250"></head><body><p>Žalba šest đaka</p></body></html>'
    assert parse_html(page.encode(encoding)).text == "Žalba šest đaka"


def test_a_binary_file_named_html_is_refused() -> None:
    with pytest.raises(UnsupportedDocument):
        parse_html(b"\xff\0\x81\x01")


def test_a_cell_merged_over_rows_keeps_the_values_of_each_row_in_their_columns(case: Callable[[str], bytes]) -> None:
    table = "| Zupanija | Grad | Iznos |\n| --- | --- | --- |\n| Istarska | Pula | 21 |\n| Istarska | Pazin | 22 |"
    assert parse_html(case("table-rowspan.html")).text == table


def test_cells_merged_both_ways() -> None:
    page = (
        "<table><tr><th rowspan=2>A<th colspan=2>B</tr><tr><th>b1<th>b2</tr>"
        "<tr><td rowspan=3 colspan=2>x<td>1</tr><tr><td>2</tr><tr><td>3</tr><tr><td>y<td>z<td>4</tr></table>"
    )
    assert parse_html(page.encode()).text == (
        "| A | B |  |\n| --- | --- | --- |\n| A | b1 | b2 |\n| x |  | 1 |\n| x |  | 2 |\n| x |  | 3 |\n| y | z | 4 |"
    )


def test_a_long_merged_cell_is_not_repeated() -> None:
    rows = "<tr><td>b</tr>" * 50
    page = f"<table><tr><td rowspan=99999>{'slovo ' * 100}<td>a</tr>{rows}</table>"
    assert len(parse_html(page.encode()).text) < 2_000


def test_a_table_inside_a_table_is_paragraphs(case: Callable[[str], bytes]) -> None:
    text = "Izbornik\n\nPrvi odlomak o vodi.\n\nDrugi odlomak o struji."
    assert parse_html(case("layout-table.html")).text == text


def test_a_table_of_figures_inside_a_layout_table_stays_a_table() -> None:
    page = "<table><tr><td>Uvod<table><tr><th>Rok<th>Dana</tr><tr><td>žalba<td>15</tr></table></tr></table>"
    assert parse_html(page.encode()).text == "Uvod\n\n| Rok | Dana |\n| --- | --- |\n| žalba | 15 |"


@pytest.mark.parametrize("hyphen", ["\xad", "&shy;", "&#173;", "&#xAD;"])
def test_a_soft_hyphen_before_a_line_break_joins_the_word(hyphen: str) -> None:
    assert parse_html(f"<p>po kori{hyphen}\n  sniku usluge.</p>".encode()).text == "po korisniku usluge."


def test_ruby_text_and_boxes_are_kept() -> None:
    page = (
        "<p><ruby>漢<rt>kan</rt></ruby> <ruby>字<rp>(</rp><rt>ji</rt><rp>)</rp></ruby></p>"
        "<p><input type=checkbox checked>prihvaćam <input type=radio> odbijam</p>"
    )
    assert parse_html(page.encode()).text == "漢(kan) 字(ji)\n\n☒ prihvaćam ☐ odbijam"
