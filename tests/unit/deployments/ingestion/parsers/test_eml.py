from __future__ import annotations

from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import pytest

from deployments.errors import UnsupportedDocument
from deployments.ingestion.parsers.eml import parse_email
from deployments.ingestion.parsers.limits import Limits
from tests.support.documents import make_docx, make_pdf

LIMITS = Limits(text_characters=1_000_000, inflation=100, pages=100)
HEADERS = """From: Ana =?utf-8?q?=C5=A0ari=C4=87?= <ana@primjer.hr>
To: Ivo <ivo@primjer.hr>
Date: Mon, 3 Feb 2025 09:00:00 +0100
"""
HEAD = "From: Ana Šarić <ana@primjer.hr>\nTo: Ivo <ivo@primjer.hr>\nDate: Mon, 03 Feb 2025 09:00:00 +0100"
BODY = "Žalba šalje se do petka, a šteta se nadoknađuje prema članku 5. Rješenje će biti dostavljeno đacima."


def message(**parts: str) -> EmailMessage:
    made = EmailMessage()
    made["From"], made["Subject"] = "ana@primjer.hr", "Rok za žalbu"
    if "plain" in parts:
        made.set_content(parts["plain"])
    if "html" in parts:
        made.add_alternative(parts["html"], subtype="html")
    return made


@pytest.mark.parametrize("encoding", ["utf-8", "windows-1250", "iso-8859-2"])
@pytest.mark.parametrize("declared", [True, False])
def test_subject_people_date_and_body(encoding: str, declared: bool) -> None:
    data = HEADERS.encode() + b"Subject: =?iso-8859-2?Q?Rok_za_=BEalbu?=\n"
    data += f"Content-Type: text/plain; charset={encoding}\n".encode() if declared else b""
    document = parse_email(data + b"Content-Transfer-Encoding: 8bit\n\n" + BODY.encode(encoding), LIMITS)
    assert document.title == "Rok za žalbu"
    assert document.text == f"# Rok za žalbu\n\n{HEAD}\n\n{BODY}"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_whole_message_saved_in_another_encoding(encoding: str) -> None:
    assert parse_email((HEADERS + "\n" + BODY).encode(encoding), LIMITS).text == f"{HEAD}\n\n{BODY}"


def test_plain_text_is_taken_before_html_unless_it_is_empty() -> None:
    html = "<html><body><p>Rok je <b>15</b> dana.</p><table><tr><th>a</th><th>b</th></tr></table></body></html>"
    assert parse_email(bytes(message(plain="Rok je 15 dana.", html=html)), LIMITS).text.endswith("\n\nRok je 15 dana.")
    assert parse_email(bytes(message(plain=" \n", html=html)), LIMITS).text.endswith("| a | b |\n| --- | --- |")


def test_attachments_are_named_and_read_where_their_kind_is(font: Path) -> None:
    made = message(plain="U prilogu.")
    made.add_attachment(
        make_pdf(["Rok je 15 dana."], font), maintype="application", subtype="pdf", filename="žalba.pdf"
    )
    made.add_attachment(b"%PDF-1.7 odrezan", maintype="application", subtype="pdf", filename="odrezan.pdf")
    made.add_attachment(b"\x89PNG\r\n", maintype="image", subtype="png", filename="slika.png")
    made.add_attachment(make_docx(["Dopis o vodi."]), maintype="application", subtype="octet-stream", filename="a.docx")
    text = parse_email(bytes(made), LIMITS).text
    assert "\n\nAttachments: žalba.pdf, odrezan.pdf, slika.png, a.docx\n\n## žalba.pdf\n\nRok je 15 dana." in text
    assert "\n\nAttachment that was not read: odrezan.pdf (" in text
    assert text.endswith("\n\n## a.docx\n\nDopis o vodi.")


def test_an_attached_message_is_read_with_its_attachments(case: Callable[[str], bytes]) -> None:
    document = parse_email(case("eml-attached-message.eml"), LIMITS)
    assert document.title == "Prosljeđujem dopis"
    assert "# Rok za ponudu\n\nFrom: Ured <ured@primjer.hr>\n\nRok za dostavu ponude je 17. rujna" in document.text
    assert "## cijene.txt\n\nPrivitak: cijena je 444 eura." in document.text
    assert document.text.endswith("## plin.csv\n\n| naziv | iznos |\n| --- | --- |\n| plin | 5 |")


def test_messages_inside_one_another_are_bounded() -> None:
    inner = message(plain="Dno.")
    for number in range(20):
        outer = message(plain=f"Razina {number}.")
        outer.add_attachment(inner)
        inner = outer
    text = parse_email(bytes(inner), LIMITS).text
    assert "Razina 15." in text
    assert "Razina 5." not in text


@pytest.mark.parametrize("encoding", ["utf-8", "windows-1250"])
def test_a_subject_in_raw_bytes_is_read(encoding: str) -> None:
    data = b"From: a@primjer.hr\nSubject: " + "Rješenje o žalbi šestog đaka".encode(encoding) + b"\n\nTekst."
    assert parse_email(data, LIMITS).title == "Rješenje o žalbi šestog đaka"


def test_a_text_without_headers_is_no_email() -> None:
    with pytest.raises(UnsupportedDocument, match="none of its headers"):
        parse_email(b"Samo tekst.\n\nJo\xc5\xa1 teksta.", LIMITS)
