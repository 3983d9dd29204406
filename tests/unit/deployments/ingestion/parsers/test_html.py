from __future__ import annotations

from collections.abc import Callable

import pytest

from deployments.errors import DocumentTooLarge, UnsupportedDocument
from deployments.ingestion.omissions import warnings
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


def test_a_bar_in_a_cell_does_not_end_it() -> None:
    page = "<p>x | y</p><table><tr><th>Uvjet | rok<th>Iznos</tr><tr><td>A | <code>B|C</code><td>100</tr></table>"
    assert parse_html(page.encode()).text == (
        "x | y\n\n| Uvjet \\| rok | Iznos |\n| --- | --- |\n| A \\| `B\\|C` | 100 |"
    )


def test_merged_cells_reach_to_the_last_column_and_no_further() -> None:
    page = "<table><tr><td colspan=600>a<td colspan=99999>b<td>c</tr><tr><td>d</tr></table>"
    header = parse_html(page.encode()).text.partition("\n")[0]
    assert header.count("|") - 1 == 1000 + 1
    assert header.endswith(" c |")


@pytest.mark.parametrize("tables", [1, 300])
def test_merged_cells_that_cover_too_many_are_refused(tables: int) -> None:
    row = "<tr><td colspan=1000 rowspan=65000>x"
    page = "<table>" + (row * 300 if tables == 1 else f"{row}</table><table>" * tables)
    with pytest.raises(DocumentTooLarge, match="merged cells cover more than 100,000 cells; split the document"):
        parse_html(page.encode())


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


def test_a_pictures_text_stands_in_its_place() -> None:
    page = "<p>Tvornica: <img src=a.png alt='Shema\n pogona'></p><p><a href=x><img src=b.png alt='Plan'></a>Split</p>"
    document = parse_html(page.encode())
    assert [" ".join(line.split()) for line in document.text.split("\n\n")] == [
        "Tvornica: Shema pogona",
        "Plan Split",
    ]
    assert warnings(document.left_out) == ()


def test_pictures_without_text_and_media_are_counted() -> None:
    page = (
        "<nav><img src=menu.png></nav><p>Tekst.</p><img src=a.png><img src=b.png alt='IMG_2034.JPG'>"
        "<video src=c.mp4>Preglednik ne podržava video.</video><audio src=d.mp3></audio><object data=e.swf></object>"
        "<script>alert(1)</script>"
    )
    document = parse_html(page.encode())
    assert document.text == "Tekst."
    assert warnings(document.left_out) == ("2 pictures without text", "2 sounds and videos", "1 embedded object")


def test_decoration_and_pixels_that_count_readers_are_no_loss() -> None:
    page = "<p>Tekst.</p><img src=a.png alt=''><img src=b.gif width=1 height=1><object data=x><p>Opis.</p></object>"
    assert warnings(parse_html(page.encode()).left_out) == ()


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<ol start=3><li>tri<li value=7>sedam<li>osam</ol>", "3. tri\n7. sedam\n8. osam"),
        ("<ol type=a><li>jedan<p>još</p></li><li>dva</ol>", "a. jedan\n\n   još\nb. dva"),
        ("<ol type=I><li>prvi<ul><li>u njemu</ul><li>drugi</ol>", "I. prvi\n   - u njemu\nII. drugi"),
        ("<ol reversed><li>dva<li>jedan</ol>", "2. dva\n1. jedan"),
        ("<ol style='list-style-type: lower-roman'><li>a<li>b</ol>", "i. a\nii. b"),
        ("<ol style='list-style: none'><li>a<li>b</ol>", "- a\n- b"),
        ("<ol start=-1><li>a<li>b</ol>", "-1. a\n0. b"),
        ("<ol type=a start=0><li>a</ol>", "0. a"),
        ("<ol start=x><li value=y>a</ol>", "1. a"),
    ],
)
def test_items_have_the_numbers_that_a_browser_shows(page: str, text: str) -> None:
    assert parse_html(page.encode()).text == text


def test_a_page_that_is_one_form_is_read_and_a_search_in_a_page_is_not() -> None:
    fields = (
        "<label>Naziv <input value='Udruga pčelara'></label><input type=hidden value=tajna><input type=submit value=OK>"
        "<select><option>Pula</option><option selected>Rab</option></select><select><option>prvi</option></select>"
        "<select multiple><option>ništa</option></select><textarea>Opis</textarea>"
    )
    page = f"<form><h1>Registar</h1><p>{fields}</p></form>"
    assert parse_html(page.encode()).text == "# Registar\n\nNaziv Udruga pčelara Rab prvi Opis"
    search = "<form><label>Traži <input></label></form><p>Rok za žalbu je petnaest dana od primitka.</p>"
    assert parse_html(search.encode()).text == "Rok za žalbu je petnaest dana od primitka."


def test_an_equation_is_one_line_without_its_notation() -> None:
    equation = (
        "<math><semantics><mrow><mi>P</mi><mo>=</mo><mfrac><mi>a</mi><mi>b</mi></mfrac><mo>+</mo><msup><mi>x</mi><mn>2"
        "</mn></msup><msqrt><mi>y</mi></msqrt></mrow><annotation encoding=x>P=\\frac</annotation></semantics></math>"
    )
    assert parse_html(f"<p>Prinos {equation} tona.</p>".encode()).text == "Prinos P=a/b+x^2√(y) tona."
    hidden = f"<p>Prinos <span style='display: none'>{equation}</span><img src=a> tona.</p>"
    assert parse_html(hidden.encode()).text == "Prinos P=a/b+x^2√(y) tona."


def test_equations_within_equations_are_read_once() -> None:
    equation = "<math><mfrac><mi>a</mi><math><msup><mi>x</mi><mn>2</mn></msup></math></mfrac></math>"
    assert parse_html(f"<p>Rast {equation} tona.</p>".encode()).text == "Rast a/x^2 tona."
    deep = "<p>Rast</p>" + "<math>" * 20_000 + "<mi>a"
    assert parse_html(deep.encode()).text == "Rast\n\na"


@pytest.mark.parametrize(
    "rows",
    [
        "<caption>Red</caption><colgroup><col></colgroup><tr><td>a<td>b</tr><tr><td>c<td>d</tr>",
        "<caption>Red</caption><tbody><tr><td>a<td>b</tr></tbody><tbody><tr><td>c<td>d</tr></tbody>",
        "<caption>Red</caption><tfoot><tr><td>c<td>d</tr></tfoot>\n<thead>\n<tr><th>a<th>b</tr></thead>",
        "<caption>Red</caption><tr></tr><tr><td>a<td>b</tr><tr></tr><tr><td>c<td>d</tr>",
    ],
)
def test_a_table_has_one_header_whatever_its_parts(rows: str) -> None:
    assert parse_html(f"<table>{rows}</table>".encode()).text == "Red\n\n| a | b |\n| --- | --- |\n| c | d |"


def test_the_source_of_a_quotation_is_read() -> None:
    page = "<blockquote><p>Tko žanje, taj mlati.</p><footer>poslovica</footer></blockquote><footer>Prava</footer>"
    assert parse_html(page.encode()).text == "> Tko žanje, taj mlati.\n>\n> poslovica"


@pytest.mark.parametrize(
    "name",
    ["address", "center", "details", "fieldset", "figure", "header", "hgroup", "legend", "main", "summary"],
)
def test_what_browsers_show_as_blocks_is_apart(name: str) -> None:
    page = f"<body><div><{name}>prvi</{name}>drugi<{name}>treći</{name}></div>"
    assert parse_html(page.encode()).text.split() == ["prvi", "drugi", "treći"]


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("10<sup>3</sup> m<sup>2</sup>", "10³ m2"),
        ("<b>5</b><sup>1</sup> eura", "**5**¹ eura"),
        ("10<sup>−6</sup>, 2<sup>n+1</sup>, 101<sub>2</sub>", "10⁻⁶, 2ⁿ⁺¹, 101₂"),
        ("5 <sup>1</sup>, 5<sup> 1</sup>", "5 1, 5 1"),
        ("H<sub>2</sub>O, 1<sup>st</sup>, km<sup>2</sup>", "H2O, 1st, km2"),
        ("unija<sup>1</sup>, kraj.<sup>23</sup>", "unija ¹, kraj.²³"),
        ("15<sup><a href='#n'>[1]</a></sup>", "15[1]"),
        ("5<sup></sup>6", "56"),
    ],
)
def test_a_raised_or_lowered_number_stays_apart_from_what_is_before_it(markup: str, text: str) -> None:
    assert parse_html(f"<p>{markup}</p>".encode()).text == text


@pytest.mark.parametrize(
    "markup",
    [
        "<p style='visibility: hidden'>{}</p>",
        "<p style='color:red;opacity:0'>{}</p>",
        "<p style='font-size: 0px'>{}</p>",
        "<dialog>{}</dialog>",
        "<details open><template>{}</template></details>",
    ],
)
def test_what_a_browser_does_not_show_is_left_out(markup: str) -> None:
    assert parse_html(f"<p>javno</p>{markup.format('tajno')}".encode()).text == "javno"


@pytest.mark.parametrize(
    "markup",
    [
        "<p style='opacity: 0.5'>{}</p>",
        "<p style='font-size:0.8em'>{}</p>",
        "<dialog open>{}</dialog>",
        "<details><summary>a</summary>{}</details>",
        "<svg><title>b</title><g><text>{}</text></g></svg>",
    ],
)
def test_what_a_browser_shows_is_read(markup: str) -> None:
    assert "vidljivo" in parse_html(f"<p>javno</p>{markup.format('vidljivo')}".encode()).text
