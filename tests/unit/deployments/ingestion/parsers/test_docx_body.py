"""What Word shows and its library leaves out."""

from __future__ import annotations

import io
from collections.abc import Mapping

import docx
import pytest

from deployments.ingestion.base import ParsedDocument
from deployments.ingestion.omissions import warnings
from deployments.ingestion.parsers.docx import parse_docx
from tests.support.documents import make_docx, with_members

_NAMESPACES = " ".join(
    f'xmlns:{prefix}="{uri}"'
    for prefix, uri in {
        "w": "http://schemas.openxmlformats.org/wordprocessingml/2006/main",
        "a": "http://schemas.openxmlformats.org/drawingml/2006/main",
        "c": "http://schemas.openxmlformats.org/drawingml/2006/chart",
        "dgm": "http://schemas.openxmlformats.org/drawingml/2006/diagram",
        "m": "http://schemas.openxmlformats.org/officeDocument/2006/math",
        "mc": "http://schemas.openxmlformats.org/markup-compatibility/2006",
        "r": "http://schemas.openxmlformats.org/officeDocument/2006/relationships",
        "v": "urn:schemas-microsoft-com:vml",
        "wps": "http://schemas.microsoft.com/office/word/2010/wordprocessingShape",
    }.items()
)


def of_body(body: str, parts: Mapping[str, str] | None = None) -> str:
    """The text of a document with this body. `parts` are further members of the archive."""
    return parsed(body, parts).text


def parsed(body: str, parts: Mapping[str, str] | None = None) -> ParsedDocument:
    document = f"<w:document {_NAMESPACES}><w:body>{body}</w:body></w:document>"
    data = with_members(make_docx(["a"]), {"word/document.xml": document} | dict(parts or {}))
    return parse_docx(data, inflation=100)


def run(text: str) -> str:
    return f'<w:r><w:t xml:space="preserve">{text}</w:t></w:r>'


def test_a_list_of_a_style_is_numbered_once() -> None:
    document = docx.Document()
    for text in ("prvo", "drugo"):
        document.add_paragraph(text, style="List Number")
    buffer = io.BytesIO()
    document.save(buffer)
    assert parse_docx(buffer.getvalue(), inflation=100).text == "1. prvo\n\n2. drugo"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (f'{run("Slika ")}<w:fldSimple w:instr=" SEQ ">{run("7")}</w:fldSimple>', "Slika 7"),
        (f'{run("kaže ")}<w:bdo w:val="ltr">{run("grad")}</w:bdo>', "kaže grad"),
        (f'{run("kaže ")}<w:dir w:val="rtl">{run("שלום")}</w:dir>', "kaže שלום"),
        ("<w:r><w:t>lijevo</w:t><w:ptab/><w:t>desno</w:t></w:r>", "lijevo desno"),
        (f"{run('javno')}<w:r><w:rPr><w:vanish/></w:rPr><w:t>tajno</w:t></w:r>", "javno"),
        ('<w:r><w:rPr><w:vanish w:val="0"/></w:rPr><w:t>javno</w:t></w:r>', "javno"),
        (f"<m:oMathPara><m:oMath><m:r><m:t>K=G</m:t></m:r></m:oMath></m:oMathPara>{run('gdje')}", "K=G gdje"),
    ],
)
def test_what_stands_inside_other_elements_is_read(content: str, text: str) -> None:
    assert of_body(f"<w:p>{content}</w:p>") == text


def test_a_carriage_return_ends_a_line() -> None:
    assert of_body("<w:p><w:r><w:t>pošta</w:t><w:cr/><w:t>telefon</w:t></w:r></w:p>").split() == ["pošta", "telefon"]


def test_what_is_chosen_of_an_old_forms_list_is_read() -> None:
    def field(data: str, result: str) -> str:
        return (
            f'<w:p>{run("Mjesto: ")}<w:r><w:fldChar w:fldCharType="begin"><w:ffData><w:ddList>{data}'
            '<w:listEntry w:val="Pula"/><w:listEntry w:val="Rab"/></w:ddList></w:ffData></w:fldChar></w:r>'
            '<w:r><w:instrText> FORMDROPDOWN </w:instrText></w:r><w:r><w:fldChar w:fldCharType="separate"/></w:r>'
            f'{result}<w:r><w:fldChar w:fldCharType="end"/></w:r></w:p>'
        )

    assert of_body(field('<w:result w:val="1"/>', "")) == "Mjesto: Rab"
    assert of_body(field('<w:default w:val="0"/>', "")) == "Mjesto: Pula"
    assert of_body(field('<w:result w:val="9"/>', "")) == "Mjesto:"
    assert of_body(field('<w:result w:val="1"/>', run("Rab"))) == "Mjesto: Rab"


def box(text: str) -> str:
    """A text box in the new form."""
    content = f"<w:txbxContent><w:p>{run(text)}</w:p></w:txbxContent>"
    return f"<w:drawing><a:graphic><wps:wsp><wps:txbx>{content}</wps:txbx></wps:wsp></a:graphic></w:drawing>"


def old_box(text: str) -> str:
    content = f"<w:txbxContent><w:p>{run(text)}</w:p></w:txbxContent>"
    return f"<w:pict><v:shape><v:textbox>{content}</v:textbox></v:shape></w:pict>"


def test_a_text_box_is_read_once_in_whatever_form_it_is_kept() -> None:
    both = (
        f"<mc:AlternateContent><mc:Choice>{box('oba')}</mc:Choice><mc:Fallback>{old_box('oba')}</mc:Fallback>"
        "</mc:AlternateContent>"
    )
    for drawn, text in ((box("novi"), "novi"), (old_box("stari"), "stari"), (both, "oba")):
        assert of_body(f"<w:p>{run('Plakat')}<w:r>{drawn}</w:r></w:p>") == f"Plakat\n\n{text}"


def test_a_numbered_line_in_a_box_of_both_forms_counts_once() -> None:
    place = '<w:p><w:pPr><w:numPr><w:ilvl w:val="0"/><w:numId w:val="1"/></w:numPr></w:pPr>'
    both = (
        f"<mc:AlternateContent><mc:Choice>{box('u okviru')}</mc:Choice><mc:Fallback>{old_box('u okviru')}"
        "</mc:Fallback></mc:AlternateContent>"
    ).replace("<w:p>", place)
    levels = '<w:lvl w:ilvl="0"><w:start w:val="1"/><w:lvlText w:val="%1."/></w:lvl>'
    numbering = (
        f'<w:numbering {_NAMESPACES}><w:abstractNum w:abstractNumId="7">{levels}</w:abstractNum>'
        '<w:num w:numId="1"><w:abstractNumId w:val="7"/></w:num></w:numbering>'
    )
    body = f"<w:p><w:r>{both}</w:r></w:p>{place}{run('poslije')}</w:p>"
    assert of_body(body, {"word/numbering.xml": numbering}) == "1. u okviru\n\n2. poslije"


_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def test_charts_and_diagrams_are_read() -> None:
    relations = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f'<Relationship Id="c" Type="{_RELATIONS}/chart" Target="charts/chart1.xml"/>'
        f'<Relationship Id="d" Type="{_RELATIONS}/diagramData" Target="/word/diagrams/data1.xml"/></Relationships>'
    )
    points = '<c:pt idx="0"><c:v>{}</c:v></c:pt>'
    chart = (
        f"<c:chartSpace {_NAMESPACES}><c:title><a:p><a:r><a:t>Posjeti</a:t></a:r></a:p></c:title><c:plotArea>"
        f"<c:pieChart><c:ser><c:cat><c:strCache>{points.format('zima')}</c:strCache></c:cat><c:val><c:numCache>"
        f"<c:formatCode>0%</c:formatCode>{points.format('0.25')}</c:numCache></c:val></c:ser></c:pieChart></c:plotArea>"
        "</c:chartSpace>"
    )
    diagram = f"<dgm:dataModel {_NAMESPACES}><dgm:pt><a:p><a:r><a:t>korak</a:t></a:r></a:p></dgm:pt></dgm:dataModel>"
    parts = {
        "word/_rels/document.xml.rels": relations,
        "word/charts/chart1.xml": chart,
        "word/diagrams/data1.xml": diagram,
    }
    drawn = '<w:drawing><c:chart r:id="c"/></w:drawing><w:drawing><dgm:relIds r:dm="d"/></w:drawing>'
    text = "Slika\n\nPosjeti\n\n| zima | 25% |\n| --- | --- |\n\nkorak"
    assert of_body(f"<w:p>{run('Slika')}<w:r>{drawn}</w:r></w:p>", parts) == text
    missing = '<w:drawing><c:chart r:id="nema"/></w:drawing><w:drawing><dgm:relIds r:dm="nema"/></w:drawing>'
    assert of_body(f"<w:p>{run('Slika')}<w:r>{missing}</w:r></w:p>", parts) == "Slika"


@pytest.mark.parametrize(
    ("equation", "text"),
    [
        ("<m:limLow><m:e>{min}</m:e><m:lim>{x}</m:lim></m:limLow>", "min_x"),
        ("<m:limUpp><m:e>{max}</m:e><m:lim>{a+b}</m:lim></m:limUpp>", "max^(a+b)"),
        ("<m:sPre><m:sub>{6}</m:sub><m:sup>{14}</m:sup><m:e>{C}</m:e></m:sPre>", "_6^14 C"),
        ("<m:eqArr><m:e>{x=1}</m:e><m:e>{y=2}</m:e></m:eqArr>", "x=1; y=2"),
        ("<m:borderBox><m:borderBoxPr/><m:e>{R}</m:e></m:borderBox>", "R"),
    ],
)
def test_equations_of_rarer_parts(equation: str, text: str) -> None:
    equation = equation.replace("{", "<m:r><m:t>").replace("}", "</m:t></m:r>")
    assert of_body(f"<w:p><m:oMath>{equation}</m:oMath></w:p>") == text


def test_a_box_in_a_header_is_read_once() -> None:
    both = (
        f"<mc:AlternateContent><mc:Choice>{box('u okviru')}</mc:Choice><mc:Fallback>{old_box('u okviru')}"
        "</mc:Fallback></mc:AlternateContent>"
    )
    header = f"<w:hdr {_NAMESPACES}><w:p>{run('Škola')}<w:r>{both}</w:r></w:p></w:hdr>"
    assert of_body(f"<w:p>{run('Tekst')}</w:p>", {"word/header1.xml": header}) == "Škola\n\nu okviru\n\nTekst"


def test_an_equation_in_a_footnote_is_read() -> None:
    note = f"<w:p><m:oMath><m:r><m:t>300</m:t></m:r></m:oMath>{run(' eura')}</w:p>"
    footnotes = f'<w:footnotes {_NAMESPACES}><w:footnote w:id="2">{note}</w:footnote></w:footnotes>'
    relations = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f'<Relationship Id="f" Type="{_RELATIONS}/footnotes" Target="footnotes.xml"/></Relationships>'
    )
    parts = {"word/footnotes.xml": footnotes, "word/_rels/document.xml.rels": relations}
    body = f'<w:p>{run("Božićnica")}<w:r><w:footnoteReference w:id="2"/></w:r></w:p>'
    assert "300 eura" in of_body(body, parts)


def test_what_is_hidden_deleted_or_said_about_the_text_is_counted() -> None:
    hidden = "<w:r><w:rPr><w:vanish/></w:rPr><w:t>tajni dodatak</w:t></w:r>"
    deleted = '<w:del w:id="1"><w:r><w:delText>brisano</w:delText></w:r></w:del>'
    note = f"<w:comment w:id='0' w:author='Ana'><w:p>{run('provjeriti')}</w:p></w:comment>"
    parts = {"word/comments.xml": f"<w:comments {_NAMESPACES}>{note}</w:comments>"}
    document = parsed(f"<w:p>{run('javno')}{hidden}{deleted}</w:p>", parts)
    assert document.text == "javno"
    assert warnings(document.left_out) == ("2 hidden words", "1 comment", "1 tracked deletion")


def test_a_row_that_begins_at_a_later_column_keeps_its_values_there() -> None:
    def row(properties: str, *cells: str) -> str:
        return f"<w:tr>{properties}{''.join(f'<w:tc><w:p>{run(cell)}</w:p></w:tc>' for cell in cells)}</w:tr>"

    rows = row("", "Grad", "Broj", "Iznos") + row('<w:trPr><w:gridBefore w:val="1"/></w:trPr>', "21", "100")
    assert of_body(f"<w:tbl>{rows}</w:tbl><w:p/>") == "| Grad | Broj | Iznos |\n| --- | --- | --- |\n|  | 21 | 100 |"
    far = row('<w:trPr><w:gridBefore w:val="999"/></w:trPr>', "21")
    assert of_body(f"<w:tbl>{far}</w:tbl><w:p/>").partition("\n")[0].count("|") == 63 + 2


@pytest.mark.parametrize(
    ("drawn", "text"),
    [
        ('<v:shape><v:textpath string="NACRT ODLUKE"/></v:shape>', "Tekst\n\nNACRT ODLUKE"),
        (
            f"<v:oval><v:textbox><w:txbxContent><w:p>{run('U elipsi')}</w:p></w:txbxContent></v:textbox></v:oval>",
            "Tekst\n\nU elipsi",
        ),
    ],
)
def test_texts_of_old_shapes_are_read(drawn: str, text: str) -> None:
    assert of_body(f"<w:p><w:r><w:pict>{drawn}</w:pict></w:r>{run('Tekst')}</w:p>") == text
