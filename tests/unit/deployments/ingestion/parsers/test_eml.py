from __future__ import annotations

from email.message import EmailMessage

import pytest

from deployments.errors import UnsupportedDocument
from deployments.ingestion.parsers.eml import parse_email

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
    document = parse_email(data + b"Content-Transfer-Encoding: 8bit\n\n" + BODY.encode(encoding))
    assert document.title == "Rok za žalbu"
    assert document.text == f"# Rok za žalbu\n\n{HEAD}\n\n{BODY}"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_whole_message_saved_in_another_encoding(encoding: str) -> None:
    assert parse_email((HEADERS + "\n" + BODY).encode(encoding)).text == f"{HEAD}\n\n{BODY}"


def test_plain_text_is_taken_before_html_unless_it_is_empty() -> None:
    html = "<html><body><p>Rok je <b>15</b> dana.</p><table><tr><th>a</th><th>b</th></tr></table></body></html>"
    assert parse_email(bytes(message(plain="Rok je 15 dana.", html=html))).text.endswith("\n\nRok je 15 dana.")
    assert parse_email(bytes(message(plain=" \n", html=html))).text.endswith("| a | b |\n| --- | --- |")


def test_attachments_are_named() -> None:
    made = message(plain="U prilogu.")
    made.add_attachment(b"%PDF-", maintype="application", subtype="pdf", filename="žalba.pdf")
    made.add_attachment(message(plain="Skrivena poruka"))
    text = parse_email(bytes(made)).text
    assert text.endswith("U prilogu.\n\nAttachments: žalba.pdf, message/rfc822")


def test_a_text_without_headers_is_no_email() -> None:
    with pytest.raises(UnsupportedDocument, match="none of its headers"):
        parse_email(b"Samo tekst.\n\nJo\xc5\xa1 teksta.")
