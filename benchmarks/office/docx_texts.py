"""DOCX files of running text: numbering, headers, notes, tracked changes, fields."""

from __future__ import annotations

import io
from collections.abc import Iterator

import docx

from benchmarks.office.seen import Document, strict
from benchmarks.office.word import (
    field,
    item,
    level,
    lists,
    paragraph,
    row,
    styled,
    table,
    text,
    word,
)


def documents() -> Iterator[Document]:
    for make in (
        _regulation,
        _outline,
        _minutes,
        _letter,
        _notes,
        _tracked,
        _hidden_text,
        _report_with_fields,
        _strict_form,
        _scripts,
    ):
        yield make()


def _regulation() -> Document:
    """Chapters, articles, paragraphs and points, all numbered by Word. Points begin anew under each article."""
    levels = (
        level(0, "GLAVA %1.", "upperRoman")
        + level(1, "Članak %2.", more='<w:lvlRestart w:val="0"/>')
        + level(2, "(%3)")
        + level(3, "%4)", "lowerLetter")
    )
    body = "".join(
        item(content, 1, depth)
        for depth, content in (
            (0, "OPĆE ODREDBE"),
            (1, "Predmet pravilnika"),
            (2, "Ovim pravilnikom uređuje se rad gradske knjižnice."),
            (2, "Knjižnica je otvorena za sve građane:"),
            (3, "djecu predškolske dobi"),
            (3, "umirovljenike i studente"),
            (1, "Članarina"),
            (2, "Godišnja članarina iznosi dvanaest eura."),
            (0, "POSUDBA"),
            (1, "Rok vraćanja"),
            (2, "Građa se vraća u roku od trideset dana, uz:"),
            (3, "člansku iskaznicu"),
            (3, "potvrdu o zaduženju"),
            (3, "naknadu za kašnjenje"),
        )
    )
    seen = """
    GLAVA I. OPĆE ODREDBE
    Članak 1. Predmet pravilnika
    (1) Ovim pravilnikom uređuje se rad gradske knjižnice.
    (2) Knjižnica je otvorena za sve građane:
    a) djecu predškolske dobi
    b) umirovljenike i studente
    Članak 2. Članarina
    (1) Godišnja članarina iznosi dvanaest eura.
    GLAVA II. POSUDBA
    Članak 3. Rok vraćanja
    (1) Građa se vraća u roku od trideset dana, uz:
    a) člansku iskaznicu
    b) potvrdu o zaduženju
    c) naknadu za kašnjenje
    """
    return Document("docx-articles", "pravilnik.docx", word(body, {"numbering": lists(levels)}), seen)


def _outline() -> Document:
    """Headings that are numbered by their styles, on three levels, the last in Roman figures."""
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="Naslov{n}"><w:name w:val="heading {n}"/><w:pPr><w:numPr>'
        f'<w:ilvl w:val="{n - 1}"/><w:numId w:val="1"/></w:numPr></w:pPr></w:style>'
        for n in (1, 2, 3)
    )
    levels = level(0, "%1.", "upperRoman", '<w:pStyle w:val="Naslov1"/>')
    levels += level(1, "%1.%2.", "decimal", '<w:isLgl/><w:pStyle w:val="Naslov2"/>')
    levels += level(2, "%1.%2.%3.", "decimal", '<w:isLgl/><w:pStyle w:val="Naslov3"/>')
    body = (
        styled("Uvod", "Naslov1")
        + paragraph("Elaborat opisuje stanje vodovoda u općini.")
        + styled("Mreža", "Naslov1")
        + styled("Cijevi", "Naslov2")
        + paragraph("Duljina cijevi je 42 kilometra.")
        + styled("Lijevano željezo", "Naslov3")
        + paragraph("Većina je postavljena 1974. godine.")
        + styled("Polietilen", "Naslov3")
        + styled("Crpke", "Naslov2")
        + paragraph("Crpna stanica Brijeg radi neprekidno.")
        + styled("Zaključak", "Naslov1")
    )
    seen = """
    I. Uvod Elaborat opisuje stanje vodovoda u općini.
    II. Mreža
    2.1. Cijevi Duljina cijevi je 42 kilometra.
    2.1.1. Lijevano željezo Većina je postavljena 1974. godine.
    2.1.2. Polietilen
    2.2. Crpke Crpna stanica Brijeg radi neprekidno.
    III. Zaključak
    """
    data = word(body, {"numbering": lists(levels), "styles": styles})
    return Document("docx-numbered-headings", "elaborat.docx", data, seen)


def _minutes() -> Document:
    """A document as python-docx writes it: title, headings, lists in the template's styles, a table."""
    made = docx.Document()
    made.add_heading("Zapisnik sa sjednice", 0)
    made.add_paragraph("Sjednica je održana 14. svibnja 2025. u vijećnici.")
    made.add_heading("Dnevni red", 1)
    for point in ("Usvajanje zapisnika", "Izvješće o proračunu", "Razno"):
        made.add_paragraph(point, style="List Number")
    made.add_heading("Nazočni", 1)
    made.add_paragraph("vijećnici", style="List Bullet")
    made.add_paragraph("Đurđica Šćitar", style="List Bullet 2")
    made.add_paragraph("Žarko Ćuk", style="List Bullet 2")
    made.add_paragraph("gosti", style="List Bullet")
    grid = made.add_table(rows=1, cols=2, style="Table Grid")
    for line in (("Za", "11"), ("Protiv", "2"), ("Suzdržani", "1")):
        for each, content in zip(grid.add_row().cells, line, strict=True):
            each.text = content
    grid.cell(0, 0).text, grid.cell(0, 1).text = "Glas", "Broj"
    buffer = io.BytesIO()
    made.save(buffer)
    seen = """
    Zapisnik sa sjednice
    Sjednica je održana 14. svibnja 2025. u vijećnici.
    Dnevni red
    1. Usvajanje zapisnika
    2. Izvješće o proračunu
    3. Razno
    Nazočni
    vijećnici Đurđica Šćitar Žarko Ćuk gosti
    Glas Broj Za 11 Protiv 2 Suzdržani 1
    """
    return Document("docx-library", "zapisnik.docx", buffer.getvalue(), seen)


def _letter() -> Document:
    """A head with class and number, repeated for odd and even pages, and a foot that counts pages."""
    head = paragraph("KLASA: 344-01/25-01/17") + paragraph("URBROJ: 2103-01-25-2")
    foot = paragraph(
        text("Grad Bjelovar, Trg kralja Tomislava 1 ") + field("PAGE", text("1")) + text("/") + field("NUMPAGES", "")
    )
    body = (
        paragraph("Poštovani gospodine Jurić,")
        + paragraph("obavještavamo Vas da je Vaš zahtjev za prekop ceste odobren.")
        + paragraph("S poštovanjem, pročelnica")
        + '<w:sectPr><w:headerReference w:type="default" r:id="header1"/><w:headerReference w:type="even" '
        'r:id="header2"/><w:footerReference w:type="default" r:id="footer1"/></w:sectPr>'
    )
    seen = """
    KLASA: 344-01/25-01/17 URBROJ: 2103-01-25-2
    Poštovani gospodine Jurić,
    obavještavamo Vas da je Vaš zahtjev za prekop ceste odobren.
    S poštovanjem, pročelnica
    Grad Bjelovar, Trg kralja Tomislava 1
    """
    data = word(body, {"header1": head, "header2": head, "footer1": foot})
    return Document("docx-header-and-footer", "dopis.docx", data, seen)


def _notes() -> Document:
    """Footnotes and endnotes with their marks, and a reviewer's comment, which is no text of the document."""
    marks = {
        kind: f'<w:r><w:{kind}Reference w:id="{number}"/></w:r>' for kind, number in (("footnote", 2), ("endnote", 3))
    }
    body = paragraph(
        text("Poslodavac isplaćuje božićnicu")
        + marks["footnote"]
        + text(" svim radnicima")
        + '<w:commentRangeStart w:id="4"/>'
        + text(" do prosinca")
        + '<w:commentRangeEnd w:id="4"/><w:r><w:commentReference w:id="4"/></w:r>'
        + text(", prema kolektivnom ugovoru")
        + marks["endnote"]
        + text(".")
    )
    fee = f"<m:oMath><m:r><m:t>300</m:t></m:r></m:oMath>{text(' eura neto')}"
    footnotes = f'<w:footnote w:id="2">{paragraph(text("Božićnica iznosi ") + fee)}</w:footnote>'
    endnotes = f'<w:endnote w:id="3">{paragraph("Narodne novine, broj 56/22")}</w:endnote>'
    comments = f'<w:comment w:id="4" w:author="I. K.">{paragraph("Provjeriti u računovodstvu!")}</w:comment>'
    seen = """
    Poslodavac isplaćuje božićnicu 1 svim radnicima do prosinca, prema kolektivnom ugovoru 2.
    1 Božićnica iznosi 300 eura neto
    2 Narodne novine, broj 56/22
    """
    data = word(body, {"footnotes": footnotes, "endnotes": endnotes, "comments": comments})
    return Document("docx-notes", "ugovor.docx", data, seen)


def _tracked() -> Document:
    """Tracked changes, seen as the text that is left when all are accepted."""
    deleted = '<w:del w:id="1"><w:r><w:delText xml:space="preserve">osam </w:delText></w:r></w:del>'
    gone_row = row("Stara stavka", "99").replace("<w:tr>", '<w:tr><w:trPr><w:del w:id="5"/></w:trPr>')
    body = (
        paragraph(
            text("Rok za prigovor je ") + deleted + f'<w:ins w:id="2">{text("petnaest ")}</w:ins>' + text("dana.")
        )
        + paragraph(f'<w:moveFrom w:id="3">{text("Prigovor rješava pročelnik.")}</w:moveFrom>')
        + paragraph("Žalba ne odgađa ovrhu.")
        + paragraph(f'<w:moveTo w:id="4">{text("Prigovor rješava pročelnik.")}</w:moveTo>')
        + table(row("Stavka", "Iznos"), gone_row, row("Pristojba", "20"))
    )
    seen = """
    Rok za prigovor je petnaest dana. Žalba ne odgađa ovrhu. Prigovor rješava pročelnik.
    Stavka Iznos Pristojba 20
    """
    return Document("docx-tracked-changes", "odluka.docx", word(body), seen)


def _hidden_text() -> Document:
    """Text that is marked as hidden is not seen, and neither is the name of a bookmark."""
    body = paragraph(
        text("Natječaj traje do kraja ")
        + '<w:bookmarkStart w:id="1" w:name="rok"/>'
        + text("listopada")
        + '<w:bookmarkEnd w:id="1"/>'
        + text(" interna napomena referenta", "<w:vanish/>")
        + text(", a prijave se ")
        + text("ne", '<w:b/><w:vanish w:val="false"/>')
        + text(" primaju poštom.")
    ) + paragraph("Povjerenstvo odlučuje većinom glasova.")
    seen = """
    Natječaj traje do kraja listopada, a prijave se ne primaju poštom.
    Povjerenstvo odlučuje većinom glasova.
    """
    return Document("docx-hidden-text", "natjecaj.docx", word(body), seen)


def _report_with_fields() -> Document:
    """A table of contents, captions that count themselves, links, and signs that are elements."""
    caption = text("Slika ") + f'<w:fldSimple w:instr=" SEQ Slika ">{text("7")}</w:fldSimple>' + text(": Odvodnja")
    body = (
        paragraph(field('TOC \\o "1-2"', text("1. Uvod") + "<w:r><w:tab/></w:r>" + text("3")))
        + paragraph(text("2. Ocjena") + "<w:r><w:tab/></w:r>" + text("12"))
        + styled("Uvod", "Naslov1")
        + paragraph(
            text("Vidjeti ")
            + field("REF _Ref1", text("odjeljak 2"))
            + text(" i ")
            + f'<w:hyperlink w:anchor="x">{text("prilog")}</w:hyperlink>'
            + text(" te ")
            + f'<w:fldSimple w:instr=" DOCPROPERTY Broj ">{text("UP/I-361")}</w:fldSimple>'
            + text(".")
        )
        + paragraph(caption)
        + paragraph("<w:r><w:t>e</w:t><w:noBreakHyphen/><w:t>pošta</w:t><w:cr/><w:t>telefon</w:t></w:r>")
        + paragraph("<w:r><w:t>lijevo</w:t><w:tab/><w:t>desno</w:t><w:ptab/><w:t>kraj</w:t></w:r>")
        + paragraph("<w:r><w:t>poljopri</w:t><w:softHyphen/><w:t>vreda</w:t></w:r>")
    )
    styles = '<w:style w:type="paragraph" w:styleId="Naslov1"><w:name w:val="heading 1"/></w:style>'
    seen = """
    1. Uvod 3
    2. Ocjena 12
    Uvod
    Vidjeti odjeljak 2 i prilog te UP/I-361.
    Slika 7: Odvodnja
    e-pošta telefon
    lijevo desno kraj
    poljoprivreda
    """
    return Document("docx-fields", "izvjesce.docx", word(body, {"styles": styles}), seen)


def _strict_form() -> Document:
    """The strict form, with a numbered list and a table."""
    body = (
        paragraph("Popis opreme u dvorani")
        + item("stolica s naslonom", 1)
        + item("projektor", 1)
        + table(row("Inventarni broj", "Stanje"), row("DV-118", "ispravno"))
    )
    data = strict(word(body, {"numbering": lists(level(0, "Br. %1"))}))
    seen = """
    Popis opreme u dvorani
    Br. 1 stolica s naslonom
    Br. 2 projektor
    Inventarni broj Stanje DV-118 ispravno
    """
    return Document("docx-strict", "oprema.docx", data, seen)


def _scripts() -> Document:
    """Ruby readings, runs that turn the direction of writing, raised and lowered figures, tags around text."""
    ruby = (
        "<w:r><w:ruby><w:rubyPr/><w:rt><w:r><w:t>tokio</w:t></w:r></w:rt>"
        "<w:rubyBase><w:r><w:t>東京</w:t></w:r></w:rubyBase></w:ruby></w:r>"
    )
    body = (
        paragraph(text("Prijatelji iz grada ") + ruby + text(" stižu u lipnju."))
        + paragraph(f'<w:bdo w:val="ltr">{text("Prijevod s hebrejskog")}</w:bdo>' + text(" je ovjeren."))
        + paragraph(f'<w:dir w:val="rtl">{text("שלום")}</w:dir>' + text(" znači mir."))
        + paragraph(text("Površina je 120 m") + text("2", '<w:vertAlign w:val="superscript"/>') + text("."))
        + f'<w:customXml w:element="klasa">{paragraph("Klasa je upisana u očevidnik.")}</w:customXml>'
        + paragraph(f'<w:smartTag w:element="grad">{text("Šibenik")}</w:smartTag>' + text(" je domaćin."))
    )
    seen = """
    Prijatelji iz grada 東京(tokio) stižu u lipnju.
    Prijevod s hebrejskog je ovjeren.
    שלום znači mir.
    Površina je 120 m2.
    Klasa je upisana u očevidnik.
    Šibenik je domaćin.
    """
    return Document("docx-scripts", "prijevod.docx", word(body), seen)
