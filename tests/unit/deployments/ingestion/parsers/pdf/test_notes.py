"""What is on a PDF's pages, or in it, beside the text is counted; a form that no reader shows is refused."""

from __future__ import annotations

import pytest

from deployments.errors import BrokenDocument
from deployments.ingestion.omissions import warnings
from deployments.ingestion.parsers.limits import Limits
from deployments.ingestion.parsers.pdf import parse_pdf

FONT = "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"
TEXT = "BT /F1 12 Tf 50 700 Td (Vidljiv tekst.) Tj ET"


def stream(content: str, entries: str = "") -> str:
    return f"<<{entries}/Length {len(content)}>>\nstream\n{content}\nendstream"


def made(*more: str, catalog: str = "", page: str = "") -> bytes:
    """A page with a line of text. `more` are objects from 6 on; the others are entries of their dictionaries."""
    objects = [
        f"<</Type/Catalog/Pages 2 0 R{catalog}>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Resources<</Font<</F1 5 0 R>>>>/Contents 4 0 R{page}>>",
        stream(TEXT),
        FONT,
        *more,
    ]
    data, places = "%PDF-1.7\n", []
    for number, content in enumerate(objects, start=1):
        places.append(len(data))
        data += f"{number} 0 obj\n{content}\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    size = len(objects) + 1
    end = f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n<</Size {size}/Root 1 0 R>>\nstartxref\n{len(data)}\n"
    return f"{data}{end}%%EOF".encode()


def test_comments_and_stamps_are_counted(limits: Limits) -> None:
    rest = "/Rect[50 500 200 530]/F 4"
    data = made(
        f"<</Type/Annot/Subtype/Text/Contents(Provjeriti){rest}>>",
        f"<</Type/Annot/Subtype/Highlight/Contents(Rok){rest}/QuadPoints[50 530 200 530 50 500 200 500]>>",
        f"<</Type/Annot/Subtype/Underline{rest}/QuadPoints[50 530 200 530 50 500 200 500]>>",
        "<</Type/Annot/Subtype/Text/Contents(Skriveno)/Rect[50 500 200 530]/F 2>>",
        f"<</Type/Annot/Subtype/Stamp/Name/Approved{rest}>>",
        f"<</Type/Annot/Subtype/Link{rest}/A<</S/URI/URI(https://primjer.hr)>>>>",
        page="/Annots[6 0 R 7 0 R 8 0 R 9 0 R 10 0 R 11 0 R]",
    )
    document = parse_pdf(data, limits)
    assert document.text == "Vidljiv tekst."
    assert warnings(document.left_out) == ("2 comments", "1 picture without text")


def test_files_within_it_are_counted(limits: Limits) -> None:
    catalog = "/Names<</EmbeddedFiles<</Names[(a.txt) 6 0 R]>>>>"
    file = "<</Type/Filespec/F(a.txt)/UF(a.txt)/EF<</F 7 0 R>>>>"
    document = parse_pdf(made(file, stream("a", "/Type/EmbeddedFile"), catalog=catalog), limits)
    assert warnings(document.left_out) == ("1 embedded object",)


def test_a_form_that_only_its_own_programs_show_is_refused(limits: Limits) -> None:
    form = stream("<xdp:xdp xmlns:xdp='http://ns.adobe.com/xdp/'/>")
    catalog = "{}/AcroForm<</Fields[]/XFA 6 0 R>>"
    with pytest.raises(BrokenDocument, match=r"a form of the kind XFA.*print it to a new PDF"):
        parse_pdf(made(form, catalog=catalog.format("/NeedsRendering true")), limits)
    assert parse_pdf(made(form, catalog=catalog.format("")), limits).text == "Vidljiv tekst."


def test_what_a_page_was_cropped_from_is_hidden(limits: Limits) -> None:
    whole = parse_pdf(made(page="/CropBox[0 0 600 800]"), limits)
    assert (whole.text, warnings(whole.left_out)) == ("Vidljiv tekst.", ())
    half = parse_pdf(made(page="/CropBox[0 0 92 800]"), limits)
    assert (half.text, warnings(half.left_out)) == ("Vidljiv", ("1 hidden word",))
