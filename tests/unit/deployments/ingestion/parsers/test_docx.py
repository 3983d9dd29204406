from __future__ import annotations

import io
import zipfile
from collections.abc import Callable

import docx
import pytest

from deployments.errors import BrokenDocument, DocumentTooLarge
from deployments.ingestion.omissions import warnings
from deployments.ingestion.parsers.docx import parse_docx
from deployments.ingestion.parsers.limits import Limits
from deployments.ingestion.parsers.pptx import parse_pptx
from deployments.ingestion.parsers.xlsx import parse_xlsx
from tests.support.documents import make_docx, make_picture, make_pptx, make_xlsx, with_members


def test_headings_paragraphs_and_tables() -> None:
    data = make_docx(
        ["# Zakon o čemu", "## Uvod", "Žalba se podnosi.", "Članak 2.", "a_b"],
        title="Zakon & red",
        table=[["Rok", "Dana"], ["žalba", "15"]],
    )
    document = parse_docx(data, inflation=100)
    assert document.title == "Zakon & red"
    assert document.text == (
        "# Zakon o čemu\n\n## Uvod\n\nŽalba se podnosi.\n\n## Članak 2.\n\na_b\n\n"
        "| Rok | Dana |\n| --- | --- |\n| žalba | 15 |"
    )


def test_a_bar_in_a_cell_does_not_end_it() -> None:
    data = make_docx([], table=[["Uvjet|rok", "Iznos"], ["A | B", "100"]])
    text = "| Uvjet\\|rok | Iznos |\n| --- | --- |\n| A \\| B | 100 |"
    assert parse_docx(data, inflation=100).text == text


def _replaced(data: bytes, name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.namelist():
            new.writestr(member, content if member == name else old.read(member))
    return buffer.getvalue()


def test_a_bomb_is_refused_by_what_it_declares() -> None:
    bomb = _replaced(make_docx(["a"]), "word/document.xml", b" " * 20_000_000)
    with pytest.raises(DocumentTooLarge, match="100 times its own size"):
        parse_docx(bomb, inflation=100)


def test_a_bomb_that_lies_about_its_size_is_not_unpacked() -> None:
    bomb = _replaced(make_docx(["a"]), "word/document.xml", b" " * 20_000_000)
    lie = bomb.replace((20_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    assert lie != bomb
    with pytest.raises(BrokenDocument):
        parse_docx(lie, inflation=100)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("word/document.xml", b"<w:document"),
        ("word/document.xml", b""),
        ("[Content_Types].xml", b"?"),
        ("word/styles.xml", b"\0\1"),
    ],
)
def test_damaged_parts_are_broken_documents(name: str, content: bytes) -> None:
    with pytest.raises(BrokenDocument, match="damaged"):
        parse_docx(_replaced(make_docx(["a"]), name, content), inflation=100)


def test_a_cell_merged_over_rows_keeps_the_columns(case: Callable[[str], bytes]) -> None:
    assert "| Istarska | Pazin | 22 |" in parse_docx(case("table-rowspan.docx"), inflation=100).text


def test_automatic_numbers_are_labels_as_word_shows_them(case: Callable[[str], bytes]) -> None:
    assert parse_docx(case("docx-automatic-numbers.docx"), inflation=100).text == (
        "Članak 1. Ovaj pravilnik uređuje rad knjižnice.\n\nČlanak 2. Žalba se podnosi u roku od osam dana uz:\n\n"
        "a) osobnu iskaznicu\n\nb) potvrdu o uplati"
    )


_NAMESPACE = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def numbered(levels: str, paragraphs: list[tuple[int, int, str]], lists: str = "") -> str:
    """The text of a document with these levels as list 1, and (list, level, text) of its paragraphs."""
    numbering = (
        f'<w:numbering {_NAMESPACE}><w:abstractNum w:abstractNumId="7">{levels}</w:abstractNum>'
        f'<w:num w:numId="1"><w:abstractNumId w:val="7"/></w:num>{lists}</w:numbering>'
    )
    body = "".join(
        f'<w:p><w:pPr><w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="{number}"/></w:numPr></w:pPr>'
        f"<w:r><w:t>{text}</w:t></w:r></w:p>"
        for number, level, text in paragraphs
    )
    data = make_docx(["a"])
    data = _replaced(data, "word/numbering.xml", numbering.encode())
    data = _replaced(
        data, "word/document.xml", f"<w:document {_NAMESPACE}><w:body>{body}</w:body></w:document>".encode()
    )
    return parse_docx(data, inflation=100).text


def level(number: int, text: str, number_format: str = "decimal", extra: str = "") -> str:
    return (
        f'<w:lvl w:ilvl="{number}"><w:start w:val="1"/><w:numFmt w:val="{number_format}"/>{extra}'
        f'<w:lvlText w:val="{text}"/></w:lvl>'
    )


def test_numbers_of_several_levels_begin_again_under_each_outer_one() -> None:
    levels = level(0, "%1.") + level(1, "%1.%2.") + level(2, "(%3)", "lowerRoman")
    text = numbered(levels, [(1, 0, "A"), (1, 1, "B"), (1, 1, "C"), (1, 2, "D"), (1, 0, "E"), (1, 1, "F")])
    assert text.split("\n\n") == ["1. A", "1.1. B", "1.2. C", "(i) D", "2. E", "2.1. F"]


def test_a_list_may_begin_anew_and_bullets_stay_bullets() -> None:
    anew = (
        '<w:num w:numId="2"><w:abstractNumId w:val="7"/><w:lvlOverride w:ilvl="0"><w:startOverride w:val="5"/>'
        "</w:lvlOverride></w:num>"
    )
    levels = level(0, "Točka %1:", "upperLetter") + level(1, "•", "bullet")
    text = numbered(levels, [(1, 0, "x"), (1, 0, "y"), (1, 1, "z"), (2, 0, "u"), (2, 0, "v")], anew)
    assert text.split("\n\n") == ["Točka A: x", "Točka B: y", "- z", "Točka E: u", "Točka F: v"]


def test_equations_and_boxes_are_kept(case: Callable[[str], bytes]) -> None:
    assert parse_docx(case("docx-equations-checkboxes.docx"), inflation=100).text == (
        "Kamata se računa kao K=G·p.\n\n☒ prihvaćam\n\n☐ odbijam"
    )


@pytest.mark.parametrize(
    ("equation", "text"),
    [
        ("<m:f><m:num><m:r><m:t>a+b</m:t></m:r></m:num><m:den><m:r><m:t>2</m:t></m:r></m:den></m:f>", "(a+b)/2"),
        ("<m:sSup><m:e><m:r><m:t>x</m:t></m:r></m:e><m:sup><m:r><m:t>2</m:t></m:r></m:sup></m:sSup>", "x^2"),
        ("<m:rad><m:radPr/><m:deg/><m:e><m:r><m:t>y</m:t></m:r></m:e></m:rad>", "√(y)"),
    ],
)
def test_equations_of_several_parts(equation: str, text: str) -> None:
    body = (
        f'<w:document {_NAMESPACE} xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"><w:body><w:p>'
        f"<w:r><w:t>Iznos </w:t></w:r><m:oMath>{equation}</m:oMath></w:p></w:body></w:document>"
    )
    data = _replaced(
        make_docx(["a"]), "word/document.xml", body.replace("<w:t>", '<w:t xml:space="preserve">').encode()
    )
    assert parse_docx(data, inflation=100).text == f"Iznos {text}"


def test_ruby_text_follows_what_it_reads() -> None:
    body = (
        f"<w:document {_NAMESPACE}><w:body><w:p><w:r><w:ruby><w:rt><w:r><w:t>kan</w:t></w:r></w:rt>"
        "<w:rubyBase><w:r><w:t>漢</w:t></w:r></w:rubyBase></w:ruby></w:r></w:p></w:body></w:document>"
    )
    data = _replaced(make_docx(["a"]), "word/document.xml", body.encode())
    assert parse_docx(data, inflation=100).text == "漢(kan)"


def test_headers_and_footers_are_read_once(case: Callable[[str], bytes]) -> None:
    document = parse_docx(case("docx-header.docx"), inflation=100)
    assert document.text.startswith("KLASA: 041-01/25-02/11 u zaglavlju\n\nPodnožje ureda breskva\n\n")
    assert document.text.count("KLASA: 041-01/25-02/11") == 1


def strict(data: bytes) -> bytes:
    """A file in the strict form, as Office saves it as "Strict Open XML"."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            content = old.read(name)
            for kind in (b"wordprocessingml", b"spreadsheetml", b"presentationml", b"drawingml", b"officeDocument"):
                transitional = b"http://schemas.openxmlformats.org/" + kind + b"/2006/"
                content = content.replace(transitional, b"http://purl.oclc.org/ooxml/" + kind + b"/")
            new.writestr(name, content)
    return buffer.getvalue()


def test_strict_files_are_read(limits: Limits) -> None:
    assert parse_docx(strict(make_docx(["# Zakon", "Žalba."])), inflation=100).text == "# Zakon\n\nŽalba."
    assert parse_pptx(strict(make_pptx([("Rok", ["Žalba"])])), limits).text == "## Rok\n\nŽalba"
    assert parse_xlsx(strict(make_xlsx({"Rok": [["a", "b"], [1, 2]]})), limits).text.endswith("| 1 | 2 |")


def _with_pictures(*descriptions: str) -> bytes:
    document = docx.Document()
    document.add_paragraph("Tekst.")
    for shade, description in enumerate(descriptions):
        document.add_picture(io.BytesIO(make_picture(shade=shade)))
        document.inline_shapes[-1]._inline.docPr.set("descr", description)
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def test_cells_merged_both_ways_keep_the_values_of_each_row_in_their_columns() -> None:
    document = docx.Document()
    table = document.add_table(4, 3)
    for number, row in enumerate(table.rows):
        for column, each in enumerate(row.cells):
            each.text = f"{'abc'[column]}{number}"
    for column in (0, 1):
        for number in (2, 3):
            table.cell(number, column).text = ""
    table.cell(1, 0).text = "oba"
    table.cell(1, 1).text = ""
    table.cell(1, 0).merge(table.cell(3, 1))
    buffer = io.BytesIO()
    document.save(buffer)
    rows = parse_docx(buffer.getvalue(), inflation=100).text.splitlines()
    assert rows == ["| a0 | b0 | c0 |", "| --- | --- | --- |", *(f"| oba |  | c{number} |" for number in (1, 2, 3))]


def test_a_pictures_text_stands_in_its_place_and_others_are_counted() -> None:
    document = parse_docx(_with_pictures("Shema\npogona", "", "slika 1.png"), inflation=100)
    assert document.text == "Tekst.\n\nShema pogona"
    assert warnings(document.left_out) == ("2 pictures without text",)


_DRAWING = """<w:drawing><wp:inline xmlns:wp="http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing">
<wp:docPr id="1" name="a"/><a:graphic xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"><a:graphicData>
{}</a:graphicData></a:graphic></wp:inline></w:drawing>"""
_CHART = _DRAWING.format('<c:chart xmlns:c="http://schemas.openxmlformats.org/drawingml/2006/chart"/>')
_DIAGRAM = _DRAWING.format('<d:relIds xmlns:d="http://schemas.openxmlformats.org/drawingml/2006/diagram"/>')
_OBJECT = """<w:object><v:shape xmlns:v="urn:schemas-microsoft-com:vml"><v:imagedata
xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships" r:id="rId9"/></v:shape></w:object>"""
_ALTERNATIVES = """<mc:AlternateContent xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006">
<mc:Choice>{0}</mc:Choice><mc:Fallback>{0}</mc:Fallback></mc:AlternateContent>"""


def test_charts_diagrams_and_objects_are_counted_once() -> None:
    runs = "".join(f"<w:r>{run}</w:r>" for run in (_CHART, _ALTERNATIVES.format(_CHART), _DIAGRAM, _OBJECT, _OBJECT))
    body = f"<w:p><w:r><w:t>Prije</w:t></w:r>{runs}<w:r><w:t xml:space='preserve'> poslije.</w:t></w:r></w:p>"
    page = f"<w:document {_NAMESPACE}><w:body>{body}</w:body></w:document>"
    document = parse_docx(with_members(make_docx(["a"]), {"word/document.xml": page}), inflation=100)
    assert document.text == "Prije poslije."
    assert warnings(document.left_out) == ("2 charts", "1 diagram", "2 embedded objects")
