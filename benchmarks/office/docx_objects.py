"""DOCX files of what is placed in text: tables, equations, forms, boxes, charts and diagrams."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.office.seen import Document
from benchmarks.office.word import cell, item, level, lists, paragraph, row, table, text, word


def documents() -> Iterator[Document]:
    for make in (_tables, _equations, _form, _boxes, _chart, _diagram):
        yield make()


def _tables() -> Document:
    """Cells merged over rows and columns, a table in a cell, paragraphs in a cell, and a row in a content control."""
    start, on = '<w:vMerge w:val="restart"/>', "<w:vMerge/>"
    inner = table(row("ponedjeljak", "8–15"), row("subota", "8–12"))
    body = (
        table(
            row("Županija", "Grad", "Broj učenika"),
            row(cell("Istarska", start), "Pula", "410"),
            row(cell("", on), "Pazin", "96"),
            row(cell("Ukupno u županiji", '<w:gridSpan w:val="2"/>'), "506"),
        )
        + paragraph("Radno vrijeme ureda")
        + table(
            row("Ured", "Vrijeme"),
            row("Porezna uprava", cell(f"{inner}{paragraph('osim blagdana')}")),
            row("Katastar", cell(paragraph("utorkom poslijepodne") + paragraph("petkom zatvoreno"))),
            f"<w:sdt><w:sdtContent>{row('Matični ured', 'četvrtkom')}</w:sdtContent></w:sdt>",
        )
    )
    seen = """
    Županija Grad Broj učenika
    Istarska Pula 410
    Pazin 96
    Ukupno u županiji 506
    Radno vrijeme ureda
    Ured Vrijeme
    Porezna uprava ponedjeljak 8–15 subota 8–12 osim blagdana
    Katastar utorkom poslijepodne petkom zatvoreno
    Matični ured četvrtkom
    """
    return Document("docx-tables", "uredi.docx", word(body), seen)


def _equations() -> Document:
    """Equations in a line and on lines of their own, of most of the kinds that Word has."""

    def run(content: str) -> str:
        return f"<m:r><m:t>{content}</m:t></m:r>"

    def part(name: str, content: str) -> str:
        return f"<m:{name}>{run(content)}</m:{name}>"

    fraction = f"<m:f>{part('num', 'glavnica')}{part('den', '365')}</m:f>"
    root = f"<m:rad>{part('deg', '3')}{part('e', 'obujam')}</m:rad>"
    total = f'<m:nary><m:naryPr><m:chr m:val="∑"/></m:naryPr>{part("sub", "i")}{part("sup", "n")}{part("e", "rata")}'
    total += "</m:nary>"
    accent = f'<m:acc><m:accPr><m:chr m:val="̅"/></m:accPr>{part("e", "prosjek")}</m:acc>'
    bar = f"<m:bar>{part('e', 'srednja')}</m:bar>"
    lower = f"<m:limLow>{part('e', 'min')}{part('lim', 'trošak')}</m:limLow>"
    array = f"<m:eqArr>{part('e', 'prvi')}{part('e', 'drugi')}</m:eqArr>"
    before = f"<m:sPre>{part('sub', '6')}{part('sup', '14')}{part('e', 'C')}</m:sPre>"
    box = f"<m:borderBox>{part('e', 'rezultat')}</m:borderBox>"
    group = f"<m:groupChr>{part('e', 'skupina')}</m:groupChr>"
    display = "".join(f"<m:oMath>{each}</m:oMath>" for each in (total, accent, bar, lower, array, before, box, group))
    body = (
        paragraph(text("Dnevna kamata je ") + f"<m:oMath>{fraction}{run('·p')}</m:oMath>" + text(", a brid "))
        + paragraph(f"<m:oMath>{root}</m:oMath>" + text(" metara."))
        + paragraph(f"<m:oMathPara>{display}</m:oMathPara>")
        + paragraph("Gdje je p kamatna stopa.")
    )
    seen = """
    Dnevna kamata je glavnica 365 p, a brid
    3 obujam metara.
    i n rata prosjek srednja min trošak prvi drugi 6 14 C rezultat skupina
    Gdje je p kamatna stopa.
    """
    return Document("docx-equations", "kamata.docx", word(body), seen)


def _form() -> Document:
    """A form: boxes of three kinds, lists of choices, dates, and fields of the old kind."""
    checked = (
        '<w:sdt><w:sdtPr><w14:checkbox><w14:checked w14:val="1"/></w14:checkbox></w:sdtPr>'
        f"<w:sdtContent>{text('☒')}</w:sdtContent></w:sdt>"
    )
    choice = (
        f"<w:sdt><w:sdtPr><w:dropDownList/></w:sdtPr><w:sdtContent>{text('preporučena pošta')}</w:sdtContent></w:sdt>"
    )
    date = f"<w:sdt><w:sdtPr><w:date/></w:sdtPr><w:sdtContent>{text('3.6.2025.')}</w:sdtContent></w:sdt>"
    old_text = (
        '<w:r><w:fldChar w:fldCharType="begin"><w:ffData><w:textInput/></w:ffData></w:fldChar></w:r><w:r><w:instrText>'
        ' FORMTEXT </w:instrText></w:r><w:r><w:fldChar w:fldCharType="separate"/></w:r>'
        f'{text("Ljerka Ivšić")}<w:r><w:fldChar w:fldCharType="end"/></w:r>'
    )
    entries = "".join(f'<w:listEntry w:val="{each}"/>' for each in ("Bjelovar", "Čakovec", "Đakovo"))
    old_list = (
        '<w:r><w:fldChar w:fldCharType="begin"><w:ffData><w:ddList><w:result w:val="1"/>'
        f"{entries}</w:ddList></w:ffData></w:fldChar></w:r><w:r><w:instrText> FORMDROPDOWN </w:instrText></w:r>"
        '<w:r><w:fldChar w:fldCharType="separate"/></w:r><w:r><w:fldChar w:fldCharType="end"/></w:r>'
    )
    body = (
        paragraph("Zahtjev za izdavanje uvjerenja")
        + paragraph(text("Podnositelj: ") + old_text)
        + paragraph(text("Mjesto rođenja: ") + old_list)
        + paragraph(text("Datum: ") + date)
        + paragraph(checked + text(" uvjerenje o prebivalištu"))
        + paragraph(text("Način dostave: ") + choice)
        + item("osobna iskaznica", 1)
    )
    seen = """
    Zahtjev za izdavanje uvjerenja
    Podnositelj: Ljerka Ivšić
    Mjesto rođenja: Čakovec
    Datum: 3.6.2025.
    ☒ uvjerenje o prebivalištu
    Način dostave: preporučena pošta
    Prilog 1: osobna iskaznica
    """
    return Document("docx-form", "zahtjev.docx", word(body, {"numbering": lists(level(0, "Prilog %1:"))}), seen)


def _drawn(content: str) -> str:
    """A shape with text, as Word draws it since 2010."""
    shape = f"<wps:wsp><wps:txbx><w:txbxContent>{content}</w:txbxContent></wps:txbx></wps:wsp>"
    return (
        f"<w:drawing><wp:anchor><a:graphic><a:graphicData>{shape}</a:graphicData></a:graphic></wp:anchor></w:drawing>"
    )


def _vector(content: str) -> str:
    """The same as Word drew it before."""
    return f"<w:pict><v:shape><v:textbox><w:txbxContent>{content}</w:txbxContent></v:textbox></v:shape></w:pict>"


def _boxes() -> Document:
    """Text boxes in the new form, in the old one, in both, and in a group."""
    both_forms = item("okvir u oba oblika", 1)
    both = (
        f"<w:r><mc:AlternateContent><mc:Choice Requires='wps'>{_drawn(both_forms)}</mc:Choice>"
        f"<mc:Fallback>{_vector(both_forms)}</mc:Fallback></mc:AlternateContent></w:r>"
    )
    group = "".join(
        f"<wps:wsp><wps:txbx><w:txbxContent>{paragraph(each)}</w:txbxContent></wps:txbx></wps:wsp>"
        for each in ("lijevi dio skupine", "desni dio skupine")
    )
    grouped = (
        "<w:r><w:drawing><wp:inline><a:graphic><a:graphicData><wpg:wgp>"
        f"{group}</wpg:wgp></a:graphicData></a:graphic></wp:inline></w:drawing></w:r>"
    )
    body = (
        paragraph(text("Plakat za Dan planeta Zemlje") + both)
        + paragraph(f"<w:r>{_drawn(paragraph('samo novi oblik'))}</w:r>")
        + paragraph(f"<w:r>{_vector(paragraph('samo stari oblik'))}</w:r>")
        + paragraph(grouped)
        + item("poslije okvira", 1)
        + '<w:sectPr><w:headerReference w:type="default" r:id="header1"/></w:sectPr>'
    )
    seen = """
    Plakat za Dan planeta Zemlje
    Točka 1 okvir u oba oblika
    samo novi oblik
    samo stari oblik
    lijevi dio skupine desni dio skupine
    Točka 2 poslije okvira
    Zaglavlje u okviru škole
    """
    head = paragraph(text("Zaglavlje ") + both.replace(both_forms, paragraph("u okviru škole")))
    data = word(body, {"numbering": lists(level(0, "Točka %1")), "header1": head})
    return Document("docx-text-boxes", "plakat.docx", data, seen)


def _chart() -> Document:
    """A chart with a title, two series and its figures."""

    def points(values: tuple[str, ...]) -> str:
        return "".join(f'<c:pt idx="{n}"><c:v>{value}</c:v></c:pt>' for n, value in enumerate(values))

    def series(name: str, values: tuple[str, ...]) -> str:
        return (
            f"<c:ser><c:tx><c:strRef><c:strCache>{points((name,))}</c:strCache></c:strRef></c:tx>"
            f"<c:cat><c:strRef><c:strCache>{points(('proljeće', 'jesen'))}</c:strCache></c:strRef></c:cat>"
            f"<c:val><c:numRef><c:numCache>{points(values)}</c:numCache></c:numRef></c:val></c:ser>"
        )

    plot = f"<c:barChart>{series('Odrasli', ('182', '240'))}{series('Djeca', ('97', '133'))}</c:barChart>"
    title = "<c:title><c:tx><c:rich><a:p><a:r><a:t>Posjeti kazalištu</a:t></a:r></a:p></c:rich></c:tx></c:title>"
    chart = f"<c:chart>{title}<c:plotArea>{plot}</c:plotArea></c:chart>"
    drawing = (
        "<w:r><w:drawing><wp:inline><a:graphic><a:graphicData><c:chart r:id='chart1'/></a:graphicData></a:graphic>"
        "</wp:inline></w:drawing></w:r>"
    )
    body = paragraph("Broj posjetitelja raste.") + paragraph(drawing) + paragraph("Izvor: blagajna.")
    seen = """
    Broj posjetitelja raste.
    Posjeti kazalištu Odrasli Djeca proljeće 182 97 jesen 240 133
    Izvor: blagajna.
    """
    return Document("docx-chart", "posjeti.docx", word(body, {"chart1": chart}), seen)


def _diagram() -> Document:
    """A SmartArt diagram."""
    points = "".join(
        f"<dgm:pt><dgm:t><a:p><a:r><a:t>{each}</a:t></a:r></a:p></dgm:t></dgm:pt>"
        for each in ("zaprimanje podneska", "provjera pristojbe", "donošenje rješenja")
    )
    drawing = (
        "<w:r><w:drawing><wp:inline><a:graphic><a:graphicData><dgm:relIds r:dm='diagramData1'/></a:graphicData>"
        "</a:graphic></wp:inline></w:drawing></w:r>"
    )
    body = paragraph("Tijek postupka") + paragraph(drawing)
    data = word(body, {"diagramData1": f"<dgm:ptLst>{points}</dgm:ptLst>"})
    seen = "Tijek postupka zaprimanje podneska provjera pristojbe donošenje rješenja"
    return Document("docx-diagram", "postupak.docx", data, seen)
