from __future__ import annotations

import base64
from collections.abc import Callable
from email.message import EmailMessage
from email.mime.base import MIMEBase
from email.mime.image import MIMEImage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path

import pytest

from deployments.errors import UnsupportedDocument
from deployments.ingestion.omissions import warnings
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


def test_a_plain_text_that_only_says_that_there_is_a_page_is_not_taken() -> None:
    html = f"<p>{'Rok za prijavu je 15. ožujka, a natječaj traje mjesec dana. ' * 3}</p>"
    text = parse_email(bytes(message(plain="Otvorite poruku u pregledniku.", html=html)), LIMITS).text
    assert "Rok za prijavu je 15. ožujka" in text
    assert "pregledniku" not in text


@pytest.mark.parametrize(
    ("declared", "actual", "text"),
    [
        ("iso-8859-1", "cp1252", "“no” – 5 €"),
        ("us-ascii", "cp1252", "5 €"),
        ("iso-2022-jp", "iso-2022-jp", "東京の天気"),
    ],
)
def test_a_text_is_read_in_the_encoding_that_its_writer_meant(declared: str, actual: str, text: str) -> None:
    head = f"{HEADERS}Content-Type: text/plain; charset={declared}\nContent-Transfer-Encoding: 8bit\n\n"
    assert parse_email(head.encode() + text.encode(actual), LIMITS).text.endswith(f"\n\n{text}")


def test_attachments_are_named_and_read_where_their_kind_is(font: Path) -> None:
    made = message(plain="U prilogu.")
    made.add_attachment(
        make_pdf(["Rok je 15 dana."], font), maintype="application", subtype="pdf", filename="žalba.pdf"
    )
    made.add_attachment(b"%PDF-1.7 odrezan", maintype="application", subtype="pdf", filename="odrezan.pdf")
    made.add_attachment(b"\x89PNG\r\n", maintype="image", subtype="png", filename="slika.png")
    made.add_attachment(make_docx(["Dopis o vodi."]), maintype="application", subtype="octet-stream", filename="a.docx")
    document = parse_email(bytes(made), LIMITS)
    text = document.text
    assert "\n\nAttachments: žalba.pdf, odrezan.pdf, slika.png, a.docx\n\n## žalba.pdf\n\nRok je 15 dana." in text
    assert "\n\nAttachment that was not read: odrezan.pdf (" in text
    assert text.endswith("\n\n## a.docx\n\nDopis o vodi.")
    assert warnings(document.left_out) == (
        "1 attachment of a kind that is not read",
        "1 attachment that could not be read",
    )


def test_what_attachments_leave_out_counts_for_the_message() -> None:
    inner = message(html="<p>Tekst.</p><img src='cid:a'>")
    inner.add_attachment(b"\x89PNG\r\n", maintype="image", subtype="png", filename="slika.png")
    outer = message(plain="Prosljeđujem.")
    outer.add_attachment(inner)
    outer.add_attachment("<p>Prilog.</p><img src=b.png>", subtype="html", filename="prilog.html")
    assert warnings(parse_email(bytes(outer), LIMITS).left_out) == (
        "2 pictures without text",
        "1 attachment of a kind that is not read",
    )


def test_attachments_beyond_those_that_are_read_are_counted() -> None:
    made = message(plain="U prilogu.")
    for number in range(103):
        made.add_attachment(f"Prilog {number}.", filename=f"{number}.txt")
    document = parse_email(bytes(made), LIMITS)
    assert "Prilog 99." in document.text
    assert "Prilog 100." not in document.text
    assert warnings(document.left_out) == ("3 attachments that could not be read",)


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
    document = parse_email(bytes(inner), LIMITS)
    assert "Razina 15." in document.text
    assert "Razina 5." not in document.text
    assert warnings(document.left_out) == ("1 attachment that could not be read",)


RAW = ["utf-8", "windows-1250", "iso-8859-2", "cp852"]


@pytest.mark.parametrize("encoding", RAW)
def test_a_subject_in_raw_bytes_is_read(encoding: str) -> None:
    data = b"From: a@primjer.hr\nSubject: " + "Rješenje o žalbi šestog đaka".encode(encoding) + b"\n\nTekst."
    assert parse_email(data, LIMITS).title == "Rješenje o žalbi šestog đaka"


@pytest.mark.parametrize("encoding", RAW)
def test_a_sender_and_a_name_of_a_file_in_raw_bytes_are_read(encoding: str) -> None:
    made = message(plain="U prilogu.")
    made.replace_header("From", "sender")
    made.add_attachment("Prilog.", filename="name.txt")
    data = bytes(made).replace(b"sender", "Željka Šarić <z@primjer.hr>".encode(encoding))
    text = parse_email(data.replace(b"name.txt", "rješenje žalbe.txt".encode(encoding)), LIMITS).text
    assert "From: Željka Šarić <z@primjer.hr>\n\nU prilogu." in text
    assert text.endswith("Attachments: rješenje žalbe.txt\n\n## rješenje žalbe.txt\n\nPrilog.")


@pytest.mark.parametrize("declared", ["unknown-8bit", "us-ascii", "windows-1250"])
def test_a_subject_that_is_encoded_with_another_encoding_than_it_says(declared: str) -> None:
    data = f"Subject: Re: =?{declared}?Q?Rje=9Aenje?= o =?utf-8?B?xb5hbGJp?=\n\nTekst."
    assert parse_email(data.encode(), LIMITS).title == "Re: Rješenje o žalbi"


def test_a_subject_in_no_encoding_does_not_hide_the_message() -> None:
    document = parse_email(b"From: a@primjer.hr\nSubject: Re: \x81\x8d\n\nTekst.", LIMITS)
    assert document.title.startswith("Re: ")
    assert document.text.endswith("Tekst.")


def test_an_attached_message_that_was_encoded_is_read() -> None:
    inner = message(plain="Rok je 17. rujna.")
    inner.add_attachment("Prilog.", filename="name.txt")
    encoded = base64.encodebytes(bytes(inner).replace(b"name.txt", "žalba.txt".encode("cp1250")))
    outer = b"Subject: Van\nContent-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: message/rfc822\n"
    outer += b"Content-Transfer-Encoding: base64\n\n" + encoded + b"\n--x--\n"
    text = parse_email(outer, LIMITS).text
    assert "# Rok za žalbu\n\nFrom: ana@primjer.hr\n\nRok je 17. rujna." in text
    assert text.endswith("## žalba.txt\n\nPrilog.")


def test_a_text_without_headers_is_no_email() -> None:
    with pytest.raises(UnsupportedDocument, match="none of its headers"):
        parse_email(b"Samo tekst.\n\nJo\xc5\xa1 teksta.", LIMITS)


def part(text: str, subtype: str = "plain", filename: str = "") -> MIMEText:
    made = MIMEText(text, subtype, "utf-8")
    if filename:
        made.add_header("Content-Disposition", "attachment", filename=filename)
    return made


def parts(kind: str, *inner: MIMEBase) -> MIMEMultipart:
    made = MIMEMultipart(kind)
    for each in inner:
        made.attach(each)
    return made


def text_of(message: MIMEMultipart) -> str:
    message["Subject"] = "Popis"
    return parse_email(message.as_bytes(), LIMITS).text


def test_a_file_between_two_pieces_of_a_page_is_read() -> None:
    page = parts(
        "mixed", part("<p>Prije.</p>", "html"), part("kreda", filename="a.txt"), part("<p>Poslije.</p>", "html")
    )
    assert text_of(parts("alternative", part("Prije. Poslije."), page)) == (
        "# Popis\n\nPrije. Poslije.\n\nAttachments: a.txt\n\n## a.txt\n\nkreda"
    )
    assert text_of(page) == "# Popis\n\nPrije.\n\nPoslije.\n\nAttachments: a.txt\n\n## a.txt\n\nkreda"


def test_a_signed_message_is_read_with_its_files() -> None:
    signed = parts("signed", parts("mixed", part("Ugovor."), part("Rok.", filename="u.txt")))
    assert text_of(signed) == "# Popis\n\nUgovor.\n\nAttachments: u.txt\n\n## u.txt\n\nRok."


def test_texts_without_names_are_read_in_order_as_one_message() -> None:
    assert (
        text_of(parts("mixed", part("Zbor je u utorak."), part("Odjava."))) == "# Popis\n\nZbor je u utorak.\n\nOdjava."
    )


def test_pictures_of_a_page_are_no_attachments() -> None:
    picture = MIMEImage(b"\x89PNG", "png")
    picture.add_header("Content-Disposition", "inline", filename="znak.png")
    page = parts("related", part("<p>Tekst.</p><img src='cid:a'>", "html"), picture)
    assert text_of(parts("alternative", part(" "), page)) == "# Popis\n\nTekst."


def test_front_matter_of_an_attachment_is_text_of_the_message() -> None:
    made = message(plain="Tekst.")
    made.add_attachment("---\ntitle: Prilog\ntags: [žalba, 1]\n---\nVoda.", filename="prilog.md")
    document = parse_email(made.as_bytes(), LIMITS)
    assert document.text.endswith('## prilog.md\n\ntitle: Prilog\ntags: ["žalba", 1]\n\nVoda.')
    assert document.metadata == {}
