"""HTML pages: what a browser shows of them, without menus, side notes and feet."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.office.seen import Document


def documents() -> Iterator[Document]:
    for make in (_news, _layout, _lists, _tables, _whole_form, _definitions, _old, _formulas, _boxes):
        yield make()


def _page(body: str, head: str = "") -> bytes:
    return (
        f'<!doctype html><html lang="hr"><head><meta charset="utf-8">{head}</head><body>{body}</body></html>'.encode()
    )


def _news() -> Document:
    """An article among menus, scripts and side notes, with parts that are not shown."""
    body = """
    <header><nav><a href="/">Naslovnica</a> <a href="/kontakt">Kontakt</a></nav></header>
    <main><article><h1>Otvoren novi most</h1><p class="datum">Objavljeno <time>7. lipnja 2025.</time></p>
    <p>Most preko Drave povezuje <a href="/x">dva sela</a>. Dug je <strong>340</strong>&nbsp;metara, a gradio se
    <em>četiri godine</em>.<br>Promet je pušten u podne.</p>
    <figure><img src="most.jpg" alt="Most"><figcaption>Pogled s južne obale</figcaption></figure>
    <p hidden>Nacrt teksta</p><p style="display: none">Oglas</p><script>pratitelj()</script>
    <blockquote>„Čekali smo ga dugo”, rekla je mještanka.</blockquote>
    <p>Gradnju je pla&shy;tila Europska unija<sup>1</sup>.</p></article></main>
    <aside>Pročitajte i ovo</aside><footer>Sva prava pridržana</footer>"""
    seen = """
    Otvoren novi most
    Objavljeno 7. lipnja 2025.
    Most preko Drave povezuje dva sela. Dug je 340 metara, a gradio se četiri godine.
    Promet je pušten u podne.
    Pogled s južne obale
    „Čekali smo ga dugo”, rekla je mještanka.
    Gradnju je platila Europska unija ¹.
    """
    return Document("html-news", "most.html", _page(body, "<title>Most</title><style>p{margin:0}</style>"), seen)


def _layout() -> Document:
    """A page that tables lay out, with a table of figures within."""
    body = """<table width="100%"><tr><td colspan="2"><h1>Općina Rakovica</h1></td></tr><tr>
    <td width="200"><p>Uredovno vrijeme: 8 do 14 sati</p></td><td><p>Načelnica prima građane utorkom.</p>
    <table border="1"><tr><th>Usluga</th><th>Pristojba</th></tr><tr><td>Preslika</td><td>0,50 €</td></tr></table>
    </td></tr></table>"""
    seen = """
    Općina Rakovica
    Uredovno vrijeme: 8 do 14 sati
    Načelnica prima građane utorkom.
    Usluga Pristojba Preslika 0,50 €
    """
    return Document("html-layout-tables", "opcina.html", _page(body), seen)


def _lists() -> Document:
    """Lists in lists; numbers that begin later, count down or jump; letters and Roman figures."""
    body = """<ol><li>Prijava<ul><li>osobno</li><li>poštom</li></ul></li><li>Ocjena<ol type="a"><li>pismena</li>
    <li>usmena</li></ol></li></ol><p>Nastavak:</p><ol start="3"><li>Objava</li><li value="7">Žalba</li><li>Odluka</li>
    </ol><ol type="I"><li>stupanj</li><li>razred</li></ol><ol reversed><li>srebro</li><li>zlato</li></ol>
    <ul><li><p>Stavka s odlomkom</p><p>i drugim odlomkom</p></li></ul>"""
    seen = """
    1. Prijava osobno poštom
    2. Ocjena a. pismena b. usmena
    Nastavak:
    3. Objava 7. Žalba 8. Odluka
    I. stupanj II. razred
    2. srebro 1. zlato
    Stavka s odlomkom i drugim odlomkom
    """
    return Document("html-lists", "natjecaj.html", _page(body), seen)


def _tables() -> Document:
    """A caption, merged cells, lists and line breaks in cells, a head and a foot of the table."""
    body = """<table><caption>Vozni red autobusa</caption><thead><tr><th rowspan="2">Linija</th>
    <th colspan="2">Polazak</th></tr><tr><th>radnim danom</th><th>nedjeljom</th></tr></thead><tbody>
    <tr><td rowspan="2">Zelenjak</td><td>5.40</td><td>7.10</td></tr><tr><td>6.20</td><td>ne vozi</td></tr>
    <tr><td>Jarun</td><td>svakih<br>deset minuta</td><td><ul><li>ujutro</li><li>navečer</li></ul></td></tr></tbody>
    <tfoot><tr><td colspan="3">Vrijedi od rujna</td></tr></tfoot></table>"""
    seen = """
    Vozni red autobusa
    Linija Polazak radnim danom nedjeljom
    Zelenjak 5.40 7.10 6.20 ne vozi
    Jarun svakih deset minuta ujutro navečer
    Vrijedi od rujna
    """
    return Document("html-tables", "vozni-red.html", _page(body), seen)


def _whole_form() -> Document:
    """A page that is one form, as ASP.NET writes pages, with filled fields and hidden ones."""
    body = """<form id="aspnetForm" method="post"><input type="hidden" name="__VIEWSTATE" value="dDwtMTA4">
    <h1>Registar udruga</h1><p>Podaci se upisuju na temelju zahtjeva ovlaštene osobe.</p>
    <p><label>Naziv: <input type="text" value="Udruga pčelara Žumberak"></label></p>
    <p><label>Županija: <select><option>Zagrebačka</option><option selected>Karlovačka</option></select></label></p>
    <p><textarea>Djelatnost: uzgoj pčela</textarea></p><button>Pošalji</button>
    <p>Rok za dopunu je osam dana od poziva nadležnog tijela.</p></form>"""
    seen = """
    Registar udruga
    Podaci se upisuju na temelju zahtjeva ovlaštene osobe.
    Naziv: Udruga pčelara Žumberak
    Županija: Karlovačka
    Djelatnost: uzgoj pčela
    Rok za dopunu je osam dana od poziva nadležnog tijela.
    """
    return Document("html-form", "registar.html", _page(body), seen)


def _definitions() -> Document:
    """Terms and their meanings, details that open, ruby, code, abbreviations, marked changes."""
    body = """<h2>Pojmovnik</h2><dl><dt>Naručitelj</dt><dd>tijelo koje provodi nabavu</dd><dt>Ponuditelj</dt>
    <dd>tvrtka koja daje ponudu</dd></dl><details><summary>Više o rokovima</summary><p>Rok teče od objave.</p></details>
    <p><ruby>東京<rp>(</rp><rt>tokio</rt><rp>)</rp></ruby> je glavni grad.</p><pre>nabava --objavi
    --rok 30</pre><p><abbr title="Elektronički oglasnik">EOJN</abbr> je obvezan<ins> od siječnja</ins>.</p>
    <p>1<sup>.</sup> dio: H<sub>2</sub>O, <kbd>Ctrl</kbd> i <q>navod</q></p>"""
    seen = """
    Pojmovnik
    Naručitelj tijelo koje provodi nabavu
    Ponuditelj tvrtka koja daje ponudu
    Više o rokovima Rok teče od objave.
    東京(tokio) je glavni grad.
    nabava --objavi --rok 30
    EOJN je obvezan od siječnja.
    1. dio: H2O, Ctrl i navod
    """
    return Document("html-definitions", "pojmovnik.html", _page(body), seen)


def _old() -> Document:
    """A page from before Unicode: windows-1250, capital tags, entities, no end tags."""
    page = """<HTML><HEAD><META HTTP-EQUIV="Content-Type" CONTENT="text/html; charset=windows-1250">
    <TITLE>Šumarija</TITLE></HEAD><BODY BGCOLOR=#FFFFFF><CENTER><FONT SIZE=5><B>Šumarija Đurđenovac</B></FONT></CENTER>
    <P>Ogrjevno drvo prodaje se od listopada &#8211; najmanje 5 m&sup3; po ku&#263;anstvu.
    <P>Cijena: 42 &euro;<BR>Prijevoz: po dogovoru<HR><P>Javite se čuvaru šume."""
    seen = """
    Šumarija Đurđenovac
    Ogrjevno drvo prodaje se od listopada – najmanje 5 m³ po kućanstvu.
    Cijena: 42 € Prijevoz: po dogovoru
    Javite se čuvaru šume.
    """
    return Document("html-old", "sumarija.html", page.encode("cp1250"), seen)


def _formulas() -> Document:
    """MathML with the TeX that it was made of, which no browser shows."""
    body = """<p>Prinos je <math><semantics><mrow><mi>P</mi><mo>=</mo><mfrac><mi>urod</mi><mi>hektar</mi></mfrac></mrow>
    <annotation encoding="application/x-tex">P=\\frac{urod}{hektar}</annotation></semantics></math> u tonama.</p>
    <p>Suša ga umanjuje za trećinu.</p>"""
    seen = "Prinos je P = urod hektar u tonama. Suša ga umanjuje za trećinu."
    return Document("html-equation", "prinos.html", _page(body), seen)


def _boxes() -> Document:
    """A questionnaire with boxes, outside of any form."""
    body = """<h1>Upitnik za roditelje</h1><p><input type="checkbox" checked> dijete je cijepljeno</p>
    <p><input type="radio" name="a"> cjelodnevni boravak <input type="radio" name="a" checked> poludnevni boravak</p>
    <template><p>predložak</p></template><noscript>Uključite skripte.</noscript>
    <p>Upis traje do svibnja.<!-- provjeriti --></p>"""
    seen = """
    Upitnik za roditelje
    dijete je cijepljeno
    cjelodnevni boravak poludnevni boravak
    Upis traje do svibnja.
    """
    return Document("html-boxes", "upitnik.html", _page(body), seen)
