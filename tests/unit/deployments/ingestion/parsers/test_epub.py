from __future__ import annotations

from dataclasses import replace

import pytest

from deployments.errors import BrokenDocument, DocumentTooLarge
from deployments.ingestion.omissions import warnings
from deployments.ingestion.parsers.epub import parse_epub
from deployments.ingestion.parsers.limits import Limits
from tests.support.documents import make_epub, with_members

PAGES = [
    "<html><body><h1>Prvo</h1><p>Tekst.</p></body></html>",
    "<html><body><h1>Drugo</h1><p>Žalba.</p></body></html>",
]
ENCRYPTION = """<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container"
xmlns:enc="http://www.w3.org/2001/04/xmlenc#"><enc:EncryptedData><enc:EncryptionMethod Algorithm="{}"/>
<enc:CipherData><enc:CipherReference URI="OEBPS/a"/></enc:CipherData></enc:EncryptedData></encryption>"""


def test_pages_come_in_reading_order(limits: Limits) -> None:
    document = parse_epub(make_epub(PAGES, title="Knjiga &amp; red"), limits)
    assert document.title == "Knjiga & red"
    assert document.text == "# Prvo\n\nTekst.\n\n# Drugo\n\nŽalba."


def test_a_page_that_is_named_twice_comes_once(limits: Limits) -> None:
    book = make_epub(PAGES)
    package = '<package xmlns="http://www.idpf.org/2007/opf"><manifest><item id="a" href="p0%20a.xhtml" '
    package += 'media-type="application/xhtml+xml"/><item id="b" href="../OEBPS/p0 a.xhtml" media-type="text/html"/>'
    package += '</manifest><spine><itemref idref="a"/><itemref idref="b"/><itemref idref="a"/></spine></package>'
    assert parse_epub(with_members(book, {"OEBPS/content.opf": package}), limits).text == "# Prvo\n\nTekst."


def test_protection_is_named_and_scrambled_fonts_are_none(limits: Limits) -> None:
    fonts = {"META-INF/encryption.xml": ENCRYPTION.format("http://www.idpf.org/2008/embedding")}
    assert parse_epub(make_epub(PAGES, more=fonts), limits).text
    drm = {"META-INF/encryption.xml": ENCRYPTION.format("http://www.w3.org/2001/04/xmlenc#aes128-cbc")}
    with pytest.raises(BrokenDocument, match="DRM"):
        parse_epub(make_epub(PAGES, more=drm), limits)


def test_the_text_limit_holds_while_reading(limits: Limits) -> None:
    with pytest.raises(DocumentTooLarge, match="more than 10 characters"):
        parse_epub(make_epub(PAGES), replace(limits, text_characters=10))


def test_a_page_that_is_not_there_is_named_as_damage(limits: Limits) -> None:
    package = '<package><manifest><item id="a" href="no" media-type="text/html"/></manifest><spine><itemref idref="a"/>'
    with pytest.raises(BrokenDocument, match="damaged"):
        parse_epub(with_members(make_epub(PAGES), {"OEBPS/content.opf": f"{package}</spine></package>"}), limits)


def test_pictures_without_text_are_counted_over_all_pages(limits: Limits) -> None:
    pages = [f"<html><body><p>Tekst.</p><img src='{n}.png'/><img src='x.png' alt='Karta'/></body></html>" for n in "ab"]
    document = parse_epub(make_epub(pages), limits)
    assert document.text.count("Karta") == 2
    assert warnings(document.left_out) == ("2 pictures without text",)


def test_notes_of_a_book_are_read(limits: Limits) -> None:
    page = "<html><body><p>Forinta<a href='#n'>1</a></p><aside id='n'><p>1. stari novac</p></aside></body></html>"
    assert parse_epub(make_epub([page]), limits).text == "Forinta1\n\n1. stari novac"


def book(items: str, spine: str, members: dict[str, str]) -> bytes:
    package = f"<package><manifest>{items}</manifest><spine>{spine}</spine></package>"
    return with_members(
        make_epub(PAGES), {"OEBPS/content.opf": package} | {f"OEBPS/{k}": v for k, v in members.items()}
    )


def test_a_book_that_lacks_some_of_its_pages_is_read_without_them(limits: Limits) -> None:
    items = '<item id="a" href="A.xhtml" media-type="application/xhtml+xml"/><item id="b" href="no" '
    items += 'media-type="text/html"/><item id="c" href="c.pdf" media-type="application/pdf"/>'
    spine = '<itemref idref="x"/><itemref idref="a"/><itemref idref="b"/><itemref idref="c"/>'
    document = parse_epub(book(items, spine, {"a.xhtml": PAGES[0]}), limits)
    assert document.text == "# Prvo\n\nTekst."
    assert warnings(document.left_out) == ("3 pages without text",)


@pytest.mark.parametrize(
    ("media_type", "page", "text"),
    [
        ("image/svg+xml", "<svg xmlns='http://www.w3.org/2000/svg'><text>Naslovnica</text></svg>", "Naslovnica"),
        ("text/x-oeb1-document", "<html><body><p>Stara knjiga.</p></body></html>", "Stara knjiga."),
        ("application/x-dtbook+xml", "<dtbook><book><p>Zvučna knjiga.</p></book></dtbook>", "Zvučna knjiga."),
    ],
)
def test_pages_of_other_kinds_are_read(limits: Limits, media_type: str, page: str, text: str) -> None:
    item = f'<item id="a" href="a" media-type="{media_type}"/>'
    assert parse_epub(book(item, '<itemref idref="a"/>', {"a": page}), limits).text == text


def test_all_of_a_page_is_read(limits: Limits) -> None:
    notes = "".join(f"<li><a href='#{n}'>Pojam {n}</a></li>" for n in range(12))
    page = f"<html><body><header><h1>Prvo</h1></header><main>{'Tekst. ' * 60}</main><ol>{notes}</ol></body></html>"
    text = parse_epub(make_epub([page]), limits).text
    assert text.startswith("# Prvo\n\nTekst.")
    assert text.endswith("12. Pojam 11")
