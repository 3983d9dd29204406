"""Hostile and broken documents, and good ones of the same kinds."""

from __future__ import annotations

import io
import random
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from tests.support.documents import make_docx, make_epub, make_pdf, make_pptx, make_xlsx, make_zip, with_members

WORD = "Naslov"
SECRET = "nobody-may-read-this"
"""What a document that reaches for `secret` would show."""

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504)
_SHEET = "xl/worksheets/sheet1.xml"
_SLIDE = "ppt/slides/slide1.xml"
_PRESENTATION = "ppt/presentation.xml"
_MEMBERS = {
    "docx": ("word/document.xml",),
    "pptx": (_SLIDE,),
    "xlsx": (_SHEET, "xl/workbook.xml"),
    "epub": ("OEBPS/p0 a.xhtml", "OEBPS/content.opf"),
}


def good_documents(font: Path) -> dict[str, bytes]:
    """A small document of each extension, all with `WORD` in them."""
    xlsx = make_xlsx({WORD: [[WORD, "b"], ["Tekst", 1]]})
    return {
        "md": f"# {WORD}\n\nTekst".encode(),
        "txt": f"{WORD}\n\nTekst".encode(),
        "html": f"<h1>{WORD}</h1><p>Tekst".encode(),
        "csv": f"{WORD};b\nTekst;1\n".encode(),
        "tsv": f"{WORD}\tb\nTekst\t1\n".encode(),
        "eml": f"From: a@b.hr\nSubject: {WORD}\n\nTekst".encode(),
        "pdf": make_pdf([f"# {WORD}", "Tekst " * 40], font),
        "docx": make_docx([f"# {WORD}", "Tekst"]),
        "pptx": make_pptx([(WORD, ["Tekst"])]),
        "xlsx": xlsx,
        "xlsm": xlsx,
        "epub": make_epub([f"<html><body><h1>{WORD}</h1><p>Tekst</p></body></html>"], title=WORD),
    }


def bad_documents(good: dict[str, bytes], font: Path, secret: Path) -> Iterator[tuple[str, bytes]]:
    """File names with their contents."""
    for extension, data in good.items():
        for name, content in _damaged(extension, data):
            yield f"{name}.{extension}", content
        if extension in _MEMBERS:
            for name, content in _archives(data, _MEMBERS[extension], secret):
                yield f"{name}.{extension}", content
        for other in good:
            if other != extension:
                yield f"really {extension}.{other}", data
    yield from _workbooks(good["xlsx"])
    yield from _presentations(good["pptx"])
    yield from _books(good["epub"], secret)
    yield from _pdfs(font)
    yield from _texts()
    yield from _emails()


def _damaged(extension: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    noise = random.Random(extension)
    yield "empty", b""
    yield "half", data[: len(data) // 2]
    yield "cut off", data[:-20]
    yield "random", noise.randbytes(3000)
    yield "zeros", bytes(3000)
    yield "one byte", b"\xff"
    yield "surrogate in utf-16", b"\xff\xfea\0\0\xd8b\0"
    yield "surrogate in utf-16 without mark", "From: a;b;c".encode("utf-16-le") + b"\0\xd8;\0"
    yield "surrogate in utf-8", b"From: a\n\na;b\n\xed\xa0\x80;c\n"
    yield "random pdf", b"%PDF-1.7\n" + noise.randbytes(500)
    yield "zip", make_zip({"a.txt": "a"})
    yield "old office", _OLE
    yield "encrypted office", _OLE + "EncryptedPackage".encode("utf-16-le")
    for number in range(4):
        dented = bytearray(data)
        for _ in range(1 + len(data) // 200):
            dented[noise.randrange(len(data))] = noise.randrange(256)
        yield f"dented {number}", bytes(dented)


def _archives(data: bytes, members: tuple[str, ...], secret: Path) -> Iterator[tuple[str, bytes]]:
    bomb = with_members(data, {members[0]: b" " * 20_000_000})
    yield "bomb", bomb
    yield "bomb beside", with_members(data, {"media/a.png": bytes(20_000_000)})
    yield "bomb that lies", bomb.replace((20_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    yield "bomb of one member named often", _named_often(data)
    yield "password", re.sub(rb"(PK\x01\x02.{4}).", b"\\1\x01", data, flags=re.DOTALL)
    attributes = "<a " + " ".join(f'b{n}="1"' for n in range(9999)) + "/>"
    for member in members:
        name = PurePosixPath(member).name
        for attack, (declared, used) in _entities(secret).items():
            yield f"{attack} in {name}", with_members(data, {member: _declaring(data, member, declared, used)})
        yield f"no {name}", _without(data, member)
        yield f"deep {name}", with_members(data, {member: "<a>" * 20_000})
        yield (
            f"attributes in {name}",
            with_members(data, {member: attributes}),
        )


def _entities(secret: Path) -> dict[str, tuple[str, str]]:
    """What a document type declares, and what uses it."""
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    return {
        "laughs": (f'<!ENTITY l0 "haha">{laughs}', "&l9;"),
        "blow-up": (f'<!ENTITY q "{"ha" * 50_000}">', "&q;" * 20_000),
        "loop": ('<!ENTITY a "&b;"><!ENTITY b "&a;">', "&a;"),
        "outside": (f'<!ENTITY o SYSTEM "{secret.as_uri()}">', "&o;"),
        "outside declarations": (f'<!ENTITY % o SYSTEM "{secret.as_uri()}"> %o;', ""),
    }


def _declaring(data: bytes, member: str, declared: str, used: str) -> str:
    body = re.sub(r"^\s*<\?xml.*?\?>", "", _read(data, member))
    root = re.match(r"\s*<([\w:]+)", body)
    assert root
    assert WORD in body or member.endswith(".opf")
    return f"<!DOCTYPE {root[1]} [{declared}]>{body.replace(WORD, WORD + used)}"


def _read(data: bytes, member: str) -> str:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(member).decode()


def _without(data: bytes, member: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return make_zip({name: archive.read(name) for name in archive.namelist() if name != member})


def _named_often(data: bytes) -> bytes:
    """The members listed two hundred times each, all at the same place in the file."""
    end = data.rindex(b"PK\x05\x06")
    begin = int.from_bytes(data[end + 16 : end + 20], "little")
    directory = data[begin:end] * 200
    count = min(directory.count(b"PK\x01\x02"), 65535).to_bytes(2, "little")
    size = len(directory).to_bytes(4, "little")
    return data[:begin] + directory + data[end : end + 8] + count * 2 + size + data[end + 16 :]


def _workbooks(data: bytes) -> Iterator[tuple[str, bytes]]:
    def sheet(rows: str, dimension: str = "A1:B2") -> bytes:
        space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
        size = f'<dimension ref="{dimension}"/>'
        xml = f'<worksheet xmlns="{space}">{size}<sheetData>{rows}</sheetData></worksheet>'
        return with_members(data, {_SHEET: xml})

    def cell(place: str, text: str = "1") -> str:
        return f'<c r="{place}"><v>{text}</v></c>'

    rows = f'<row r="1">{cell("A1", "7")}</row>'
    yield "declares all cells.xlsx", sheet(rows, "A1:XFD1048576")
    yield "declares more than all cells.xlsx", sheet(rows, "A1:ZZZ99999999999")
    yield "last cell.xlsx", sheet(f'{rows}<row r="1048576">{cell("XFD1048576")}</row>', "A1:XFD1048576")
    yield "row far away.xlsx", sheet(f'{rows}<row r="99999999999">{cell("A99999999999")}</row>')
    yield "rows backwards.xlsx", sheet(f'<row r="5">{cell("A5")}</row><row r="-5">{cell("A1")}</row>{rows}')
    yield "wide rows.xlsx", sheet("".join(f'<row r="{n}">{cell(f"XFD{n}")}</row>' for n in range(1, 200)))
    yield (
        "diagonal.xlsx",
        sheet(
            "".join(
                f'<row r="{n}"><c r="{chr(65 + n // 26)}{chr(65 + n % 26)}{n}"><v>1</v></c></row>'
                for n in range(1, 600)
            )
        ),
    )
    yield "no places.xlsx", sheet('<row r="x"><c r="??"><v>1</v></c></row>')
    yield "no such string.xlsx", sheet('<row r="1"><c r="A1" t="s"><v>999999</v></c></row>')
    yield (
        "dates without end.xlsx",
        sheet('<row r="1"><c r="A1" t="d"><v>9999-99-99</v></c><c r="B1"><v>1e999</v></c></row>'),
    )
    strings = "xl/sharedStrings.xml"
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    part = f'<Override PartName="/{strings}" ContentType="{kind}"/></Types>'
    types = _read(data, "[Content_Types].xml").replace("</Types>", part)
    for name, text in (("laughs", "<t>&l9;</t>"), ("long", f"<t>{'a' * 5_000_000}</t>")):
        declared, _ = _entities(Path("/"))["laughs"]
        table = f"<!DOCTYPE sst [{declared}]><sst xmlns='x'><si>{text}</si></sst>"
        yield f"{name} shared string.xlsx", with_members(sheet(rows), {"[Content_Types].xml": types, strings: table})
    yield (
        "one sheet often.xlsx",
        with_members(
            data,
            {"xl/workbook.xml": re.sub(r"(<sheet .*?/>)", r"\1" * 100, _read(data, "xl/workbook.xml"))},
        ),
    )


def _presentations(data: bytes) -> Iterator[tuple[str, bytes]]:
    relations = "ppt/slides/_rels/slide1.xml.rels"
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    for name, target in (("itself", "slide1.xml"), ("the presentation", "../presentation.xml"), ("nothing", "no.xml")):
        more = f'<Relationship Id="rId99" Type="{kind}/slide" Target="{target}"/></Relationships>'
        xml = _read(data, relations).replace("</Relationships>", more)
        yield f"slide that refers to {name}.pptx", with_members(data, {relations: xml})
    layout = "ppt/slideLayouts/_rels/slideLayout2.xml.rels"
    yield (
        "layout of itself.pptx",
        with_members(
            data, {layout: _read(data, layout).replace("../slideMasters/slideMaster1.xml", "slideLayout2.xml")}
        ),
    )
    slides = re.sub(r"(<p:sldId .*?/>)", r"\1" * 30_000, _read(data, _PRESENTATION))
    yield "one slide often.pptx", with_members(data, {_PRESENTATION: slides})
    for depth in (100, 10_000):
        group = "<p:grpSp><p:nvGrpSpPr/><p:grpSpPr/>"
        nested = f"{group * depth}{'</p:grpSp>' * depth}</p:spTree>"
        xml = _read(data, _SLIDE).replace("</p:spTree>", nested)
        yield f"groups {depth} deep.pptx", with_members(data, {_SLIDE: xml})


def _books(data: bytes, secret: Path) -> Iterator[tuple[str, bytes]]:
    package = _read(data, "OEBPS/content.opf")
    often = re.sub(r"(<itemref .*?/>)", r"\1" * 100_000, package)
    yield "one page often.epub", with_members(data, {"OEBPS/content.opf": often})
    away = re.sub(r'href=".*?"', f'href="../../../../../..{secret}"', package)
    yield "page outside.epub", with_members(data, {"OEBPS/content.opf": away})
    page = f'<html><body><p>{WORD}</p><iframe src="{secret.as_uri()}"></iframe></body></html>'
    yield "page that includes.epub", with_members(data, {"OEBPS/p0 a.xhtml": page})
    yield (
        "package of itself.epub",
        with_members(data, {"META-INF/container.xml": '<c><rootfile full-path="META-INF/container.xml"/></c>'}),
    )
    yield "no package.epub", with_members(data, {"META-INF/container.xml": "<c/>"})
    encrypted = '<e xmlns:x="x"><x:EncryptedData><x:EncryptionMethod Algorithm="aes"/></x:EncryptedData></e>'
    yield "drm.epub", with_members(data, {"META-INF/encryption.xml": encrypted})


def _pdfs(font: Path) -> Iterator[tuple[str, bytes]]:
    def pdf(pages: str, *, trailer: str = "") -> bytes:
        objects = ["<</Type/Catalog/Pages 2 0 R>>", pages]
        body = "".join(f"{n} 0 obj{each}endobj\n" for n, each in enumerate(objects, start=1))
        return f"%PDF-1.7\n{body}trailer<</Root 1 0 R/Size 9{trailer}>>\nstartxref\n0\n%%EOF".encode()

    yield "page tree that is a loop.pdf", pdf("<</Type/Pages/Count 3/Kids[2 0 R 2 0 R 2 0 R]>>")
    yield "page tree that is its own parent.pdf", pdf("<</Type/Pages/Count 1/Parent 2 0 R/Kids[1 0 R]>>")
    yield "two thousand million pages.pdf", pdf("<</Type/Pages/Count 2147483647/Kids[2 0 R]>>")
    yield "table that is a loop.pdf", pdf("<</Type/Pages/Count 1/Kids[]>>", trailer="/Prev 9/XRefStm 9")
    yield "deep arrays.pdf", pdf("<</Type/Pages/Count 1/Kids" + "[" * 100_000 + ">>")
    yield "password.pdf", make_pdf([WORD], font, password="tajna")
    yield "scan.pdf", make_pdf([], font)


def _texts() -> Iterator[tuple[str, bytes]]:
    yield "deep.html", b"<div>" * 5000 + WORD.encode()
    yield "deep tables.html", b"<table><tr><td>" * 1000 + WORD.encode()
    yield "deep lists.html", b"<ul><li>" * 600 + WORD.encode()
    yield "attributes.html", b"<p " + b" ".join(b'a%d="1"' % n for n in range(50_000)) + b">" + WORD.encode()
    yield "one long word.html", b"<p>" + b"a" * 1_000_000
    yield "tags that never end.html", b"<a" * 300_000
    yield "odd encoding.html", b'<meta charset="punycode">\xff' + b"a-" * 1000
    yield "surrogate.html", b"<p>&#xD800;" + WORD.encode()
    yield "columns that span.html", b'<table><tr><td colspan="99999999" rowspan="99999999">a</td></tr></table>'
    yield "one long line.txt", b"a" * 3_000_000
    yield "one long line.md", b"#" * 1_000_000 + b" " + b"*_[" * 100_000
    yield "long cell.csv", b"a;b\n" + b"x" * 1_000_000
    yield "quote left open.csv", b'a;b\n1;"x\n' + b"2;y\n" * 100_000
    yield "zeros.csv", b"a;b\n1;\0\n2;c\n"
    yield "delimiters.csv", b";" * 3_000_000 + b"\na;b"
    yield "columns.csv", b"a;" * 100_000
    yield "wide, then long.csv", b"a;" * 16_000 + b"\n" + b"1\n" * 20_000
    yield "quotes.csv", b'"' * 1_000_001
    yield "delimiter of its own.csv", b'sep="\n"a""b"\n'


def _emails() -> Iterator[tuple[str, bytes]]:
    head = b"From: a@b.hr\nSubject: Naslov\nMIME-Version: 1.0\n"
    text = b"Content-Type: text/plain\n\nTekst\n"

    def mixed(name: bytes) -> bytes:
        return b"Content-Type: multipart/mixed; boundary=" + name + b"\n\n--" + name + b"\n"

    for depth in (20, 200, 3000):
        yield f"parts {depth} deep.eml", head + b"".join(mixed(b"b%d" % n) for n in range(depth)) + text
        yield f"messages {depth} deep.eml", head + b"Content-Type: message/rfc822\n\n" * depth + text
    yield "many parts.eml", head + mixed(b"b") + (text + b"--b\n") * 500
    yield "no boundary.eml", head + b"Content-Type: multipart/mixed\n\nTekst"
    yield "empty boundary.eml", head + b'Content-Type: multipart/mixed; boundary=""\n\n--\nTekst'
    yield "unknown charset.eml", head + b"Content-Type: text/plain; charset=klingon\n\nTekst \xe8"
    yield "charset that is no text.eml", head + b"Content-Type: text/plain; charset=zlib\n\nTekst \xe8"
    yield "broken charset.eml", head + b"Content-Type: text/plain; charset*=\xff''%ff; charset=\x00\n\nTekst"
    yield "broken base64.eml", head + b"Content-Transfer-Encoding: base64\n\n!!!!=Tekst"
    yield "broken type.eml", head + b'Content-Type: ;;;/\xff="\n\nTekst'
    yield "broken words.eml", b"Subject: =?utf-8?b?////?= =?x?q?=FF?= =?utf-16?b?2AA=?=\nFrom: <<<,,;:\xff\n\nTekst"
    yield "many headers.eml", head + b"X-A: b\n" * 100_000 + b"\nTekst"
    yield "long header.eml", head + b"To: " + b"a@b.hr, " * 500 + b"\n\nTekst"
    yield "words in a header.eml", b"From: a@b.hr\nSubject: " + b"=?utf-8?q?a?= " * 2000 + b"\n\nTekst"
    yield "open comment.eml", b"From: " + b"(" * 5000 + b"\nSubject: a\n\nTekst"
    yield "open brackets.eml", b"From: " + b"a:<[" * 5000 + b"\nDate: " + b"(" * 3000 + b"\n\nTekst"
    yield "parameters.eml", head + b"Content-Type: text/plain" + b"; a*0=b" * 500 + b"\n\nTekst"
