"""EPUB books: pages in the order of the spine, notes, old markup, addresses with signs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from benchmarks.office.seen import Document
from tests.support.documents import make_zip


@dataclass(frozen=True, slots=True)
class _Page:
    """A file of a book. `more` are further attributes of its entry in the spine; None: it is in none."""

    name: str
    content: str | bytes
    more: str | None = ""
    properties: str = ""


def documents() -> Iterator[Document]:
    for make in (_order, _notes, _old_markup, _folders, _parts):
        yield make()


def _book(title: str, pages: Sequence[_Page], order: Sequence[int] | None = None, folder: str = "OEBPS") -> bytes:
    """A book of these files. `order`: that of the spine, as numbers of pages."""
    items = "".join(
        f'<item id="i{n}" href="{quote(page.name)}" media-type="application/xhtml+xml" properties="{page.properties}"/>'
        for n, page in enumerate(pages)
    )
    spine = "".join(
        f'<itemref idref="i{n}" {pages[n].more}/>' for n in order or range(len(pages)) if pages[n].more is not None
    )
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf" version="3.0"><metadata '
        f'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{title}</dc:title><dc:language>hr</dc:language></metadata>'
        f"<manifest>{items}</manifest><spine>{spine}</spine></package>"
    )
    path = f"{folder}/knjiga.opf".removeprefix("/")
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        f'<rootfile full-path="{path}" media-type="application/oebps-package+xml"/></rootfiles></container>'
    )
    files = {f"{folder}/{page.name}".removeprefix("/"): page.content for page in pages}
    return make_zip({"mimetype": "application/epub+zip", "META-INF/container.xml": container, path: package} | files)


def _xhtml(body: str, title: str = "stranica") -> str:
    return (
        '<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml" '
        f'xmlns:epub="http://www.idpf.org/2007/ops"><head><title>{title}</title></head><body>{body}</body></html>'
    )


def _order() -> Document:
    """Chapters stored in another order, a contents page for programs, and a picture as cover."""
    pages = (
        _Page(
            "nav.xhtml",
            _xhtml('<nav epub:type="toc"><ol><li><a href="a">Sadržaj</a></li></ol></nav>'),
            properties="nav",
        ),
        _Page("treće.xhtml", _xhtml("<h1>Povratak</h1><p>Ribari su se vratili kući prije oluje.</p>")),
        _Page("prvo.xhtml", _xhtml("<h1>Odlazak</h1><p>Brod je isplovio u svitanje.</p>")),
        _Page("drugo.xhtml", _xhtml("<h1>Pučina</h1><p>Tri dana nije bilo vjetra.</p>")),
        _Page("korice.xhtml", _xhtml('<div><img src="korice.jpg" alt="Korice"/></div>')),
    )
    seen = """
    Odlazak Brod je isplovio u svitanje.
    Pučina Tri dana nije bilo vjetra.
    Povratak Ribari su se vratili kući prije oluje.
    """
    return Document("epub-order", "ribari.epub", _book("Ribari", pages, (4, 0, 2, 3, 1)), seen)


def _notes() -> Document:
    """Footnotes as the standard has them, a note in the margin, and a quotation with its source."""
    page = _xhtml("""<section><h1>Stara krčma</h1><p>Plaćalo se u forintima<a epub:type="noteref" href="#n1">1</a>, a
    večera je stajala tri novčića.</p><blockquote><p>Tko žanje, taj i mlati.</p><footer>narodna poslovica</footer>
    </blockquote><aside epub:type="sidebar"><p>Krčma je srušena 1911. godine.</p></aside>
    <aside epub:type="footnote" id="n1"><p>1. Austrougarski novac do 1892.</p></aside></section>""")
    seen = """
    Stara krčma
    Plaćalo se u forintima1, a večera je stajala tri novčića.
    Tko žanje, taj i mlati. narodna poslovica
    Krčma je srušena 1911. godine.
    1. Austrougarski novac do 1892.
    """
    return Document("epub-notes", "krcma.epub", _book("Krčma", (_Page("krcma.xhtml", page),)), seen)


def _old_markup() -> Document:
    """EPUB 2: a document type with entities, and a page in UTF-16."""
    doctype = '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.1//EN" "http://www.w3.org/TR/xhtml11/DTD/xhtml11.dtd">'
    first = _xhtml("<h2>Kuhinja bake Kate</h2><p>Jaja&nbsp;&ndash; &scaron;est, bra&#353;no po &#382;elji.</p>")
    second = _xhtml(
        "<h2>Štrudla</h2><table><tr><th>sastojak</th><th>mjera</th></tr><tr><td>jabuke</td><td>1 kg</td></tr></table>"
    )
    pages = (
        _Page("1.html", first.replace("<html", f"{doctype}<html")),
        _Page("2.html", second.replace("utf-8", "utf-16").encode("utf-16")),
    )
    seen = """
    Kuhinja bake Kate Jaja – šest, brašno po želji.
    Štrudla sastojak mjera jabuke 1 kg
    """
    return Document("epub-old-markup", "kuhinja.epub", _book("Kuhinja", pages), seen)


def _folders() -> Document:
    """Pages in folders whose names have spaces and letters, and the package file at the root; a page out of order."""
    pages = (
        _Page("tekst/poglavlje 1.xhtml", _xhtml("<h1>Šuma</h1><p>Jelen je stajao na čistini.</p>")),
        _Page("tekst/poglavlje č.xhtml", _xhtml("<h1>Rijeka</h1><p>Voda je bila mutna.</p>")),
        _Page("dodatak/bilješke.xhtml", _xhtml("<p>Tumač pojmova: čistina je proplanak.</p>"), 'linear="no"'),
    )
    seen = """
    Šuma Jelen je stajao na čistini. Rijeka Voda je bila mutna. Tumač pojmova: čistina je proplanak.
    """
    return Document("epub-folders", "suma.epub", _book("Šuma", pages, folder=""), seen)


def _parts() -> Document:
    """Headings of parts, poems with lines, lists, numbers of printed pages that only programs show."""
    page = _xhtml("""<h1>Prvi dio</h1><h2>Zima</h2><p>Snijeg pada,<br/>selo šuti.</p>
    <span epub:type="pagebreak" title="12" id="p12"></span><ol start="4"><li>stih</li><li>rima</li></ol>
    <p>Pjesma <i>Đardin</i> napisana je <ruby>雪<rt>snijeg</rt></ruby> u Splitu.</p>""")
    seen = """
    Prvi dio Zima Snijeg pada, selo šuti.
    4. stih 5. rima
    Pjesma Đardin napisana je 雪(snijeg) u Splitu.
    """
    return Document("epub-parts", "pjesme.epub", _book("Pjesme", (_Page("p.xhtml", page),)), seen)
