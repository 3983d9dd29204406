"""E-mails: encodings with and without a declaration, attachments, and messages within messages."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import EmailMessage
from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

from benchmarks.office.docx_texts import documents as word_documents
from benchmarks.office.seen import Document


def documents() -> Iterator[Document]:
    for make in (
        _old_encoding,
        _raw_subject,
        _raw_old_subject,
        _page,
        _attachments,
        _forwarded,
        _between_parts,
        _signed,
        _two_texts,
        _stub,
    ):
        yield make()


def _message(subject: str, sender: str = "Ćirilo Đurić <cirilo@primjer.hr>") -> EmailMessage:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = subject, sender, "ured@primjer.hr"
    message["Date"] = "Tue, 06 May 2025 10:15:00 +0200"
    return message


_HEAD = "Ćirilo Đurić cirilo@primjer.hr ured@primjer.hr Tue, 06 May 2025 10:15:00 +0200"
"""What a person sees of the headers that `_message` writes, with no words of a language for their names."""


def _old_encoding() -> Document:
    """A text in windows-1250 as quoted-printable, with a subject in pieces of two encodings."""
    body = "Poštovani,\n\npošiljka čeka u pretincu. Šaljem i žuti obrazac.\n\nĐurić"
    head = (
        "Subject: =?windows-1250?Q?Po=9Ailjka_?= =?utf-8?B?xI1la2E=?=\n"
        "From: =?iso-8859-2?Q?=C6irilo_=D0uri=E6?= <cirilo@primjer.hr>\nTo: ured@primjer.hr\n"
        "Date: Tue, 06 May 2025 10:15:00 +0200\nContent-Type: text/plain; charset=windows-1250\n"
        "Content-Transfer-Encoding: 8bit\n\n"
    )
    seen = f"Pošiljka čeka {_HEAD} Poštovani, pošiljka čeka u pretincu. Šaljem i žuti obrazac. Đurić"
    return Document("eml-encodings", "posiljka.eml", head.encode() + body.encode("cp1250"), seen)


def _raw(encoding: str) -> bytes:
    text = "Subject: Žalba šestoga vijećnika\nFrom: Ćirilo Đurić <cirilo@primjer.hr>\nTo: ured@primjer.hr\n"
    text += "Date: Tue, 06 May 2025 10:15:00 +0200\n\nŽalbu treba riješiti što prije, najkasnije iduću srijedu.\n"
    return text.encode(encoding)


_RAW_SEEN = f"Žalba šestoga vijećnika {_HEAD} Žalbu treba riješiti što prije, najkasnije iduću srijedu."


def _raw_subject() -> Document:
    """Headers and text in UTF-8 that nothing declares."""
    return Document("eml-raw-utf-8", "zalba.eml", _raw("utf-8"), _RAW_SEEN)


def _raw_old_subject() -> Document:
    """The same in windows-1250."""
    return Document("eml-raw-windows-1250", "zalba-stara.eml", _raw("cp1250"), _RAW_SEEN)


def _page() -> Document:
    """A page as the only text, laid out in tables."""
    message = _message("Poziv na izložbu")
    page = (
        "<html><head><style>td{color:red}</style></head><body><table role=presentation><tr><td><table><tr><td>"
        "<h1>Izložba čipke</h1><p>Otvorenje je u&nbsp;četvrtak u 19 sati.</p></td></tr></table></td></tr><tr><td>"
        '<img src="cid:1" alt="slika"><p>Ulaz je slobodan &ndash; dođite!</p></td></tr></table></body></html>'
    )
    message.set_content(page, subtype="html", cte="base64")
    seen = f"Poziv na izložbu {_HEAD} Izložba čipke Otvorenje je u četvrtak u 19 sati. Ulaz je slobodan – dođite!"
    return Document("eml-page", "izlozba.eml", bytes(message), seen)


def _attachments() -> Document:
    """A text, a table, a Word document and a picture, each with a name in Croatian letters."""
    message = _message("Račun za struju")
    message.set_content("U prilogu je račun.")
    message.add_attachment("Rok plaćanja je 15. lipnja.\n", filename="napomena čitaj.txt")
    message.add_attachment(
        "mjesec;kWh\nsvibanj;412\n".encode("cp1250"), maintype="text", subtype="csv", filename="očitanje.csv"
    )
    word = next(document for document in word_documents() if document.name == "docx-header-and-footer")
    message.add_attachment(word.data, maintype="application", subtype="octet-stream", filename="dopis.docx")
    message.add_attachment(b"\x89PNG\r\n\x1a\n", maintype="image", subtype="png", filename="šalica.png")
    seen = f"""
    Račun za struju {_HEAD} U prilogu je račun.
    napomena čitaj.txt očitanje.csv dopis.docx šalica.png
    Rok plaćanja je 15. lipnja.
    mjesec kWh svibanj 412
    {word.seen}
    """
    return Document("eml-attachments", "racun.eml", bytes(message), seen)


def _forwarded() -> Document:
    """A message in a message in a message, the innermost with a file."""
    inner = _message("Ponuda za krov")
    inner.set_content("Ponuda vrijedi šezdeset dana.")
    inner.add_attachment("Cijena crijepa je 7 eura.\n", filename="crijep.txt")
    middle = _message("Proslijeđeno: krov")
    middle.set_content("Molim mišljenje.")
    middle.add_attachment(inner)
    outer = _message("Hitno")
    outer.set_content("Vidi dolje.")
    outer.add_attachment(middle)
    seen = f"""
    Hitno {_HEAD} Vidi dolje.
    Proslijeđeno: krov {_HEAD} Molim mišljenje.
    Ponuda za krov {_HEAD} Ponuda vrijedi šezdeset dana.
    crijep.txt Cijena crijepa je 7 eura.
    """
    return Document("eml-messages-inside", "krov.eml", bytes(outer), seen)


def _headed(part: MIMEMultipart, subject: str) -> bytes:
    message = _message(subject)
    for name, value in message.items():
        part[name] = value
    return part.as_bytes()


def _file(content: str, name: str) -> MIMEText:
    part = MIMEText(content, "plain", "utf-8")
    part.add_header("Content-Disposition", "attachment", filename=name)
    return part


def _between_parts() -> Document:
    """A plain text, and beside it a page in two pieces with a file between them, as Apple Mail writes it."""
    mixed = MIMEMultipart("mixed")
    mixed.attach(MIMEText("<p>Šaljem popis prije sastanka.</p>", "html", "utf-8"))
    mixed.attach(_file("kreda, spužva, ploča", "popis.txt"))
    mixed.attach(MIMEText("<p>Vidimo se u ponedjeljak.</p>", "html", "utf-8"))
    both = MIMEMultipart("alternative")
    both.attach(MIMEText("Šaljem popis prije sastanka.\n\nVidimo se u ponedjeljak.\n", "plain", "utf-8"))
    both.attach(mixed)
    seen = f"""
    Popis pribora {_HEAD} Šaljem popis prije sastanka. Vidimo se u ponedjeljak.
    popis.txt kreda, spužva, ploča
    """
    return Document("eml-file-between-parts", "popis.eml", _headed(both, "Popis pribora"), seen)


def _signed() -> Document:
    """A signed message: its text and its file are one level deeper."""
    mixed = MIMEMultipart("mixed")
    mixed.attach(MIMEText("Potpisani ugovor je u prilogu.", "plain", "utf-8"))
    mixed.attach(_file("Ugovor se raskida uz otkazni rok od tri mjeseca.", "ugovor.txt"))
    signed = MIMEMultipart("signed", protocol="application/pkcs7-signature")
    signed.attach(mixed)
    signature = MIMEApplication(b"0\x82", "pkcs7-signature")
    signature.add_header("Content-Disposition", "attachment", filename="smime.p7s")
    signed.attach(signature)
    seen = f"""
    Ugovor o najmu {_HEAD} Potpisani ugovor je u prilogu.
    ugovor.txt smime.p7s Ugovor se raskida uz otkazni rok od tri mjeseca.
    """
    return Document("eml-signed", "najam.eml", _headed(signed, "Ugovor o najmu"), seen)


def _two_texts() -> Document:
    """Two texts below each other without names, as a mailing list adds its own."""
    mixed = MIMEMultipart("mixed")
    mixed.attach(MIMEText("Zbor stanara je u utorak u 18 sati.", "plain", "utf-8"))
    mixed.attach(MIMEText("Odjava s liste: pošaljite praznu poruku.", "plain", "iso-8859-2"))
    seen = f"Zbor stanara {_HEAD} Zbor stanara je u utorak u 18 sati. Odjava s liste: pošaljite praznu poruku."
    return Document("eml-two-texts", "zbor.eml", _headed(mixed, "Zbor stanara"), seen)


def _stub() -> Document:
    """A page, beside it a plain text that is empty but for spaces, and an inner answer with a quote."""
    both = MIMEMultipart("alternative")
    both.attach(MIMEText(" \n\n", "plain", "utf-8"))
    page = "<div>Slažem se s prijedlogom.</div><blockquote>Predlažem da se krovište obnovi na ljeto.</blockquote>"
    both.attach(MIMEText(page, "html", "utf-8"))
    seen = f"Odgovor: krovište {_HEAD} Slažem se s prijedlogom. Predlažem da se krovište obnovi na ljeto."
    return Document("eml-empty-text", "odgovor.eml", _headed(both, "Odgovor: krovište"), seen)
