"""Parses e-mail: subject, sender, recipients, date, text, and the names of attachments."""

from __future__ import annotations

import codecs
import email
from collections.abc import Iterator
from email.message import EmailMessage, MIMEPart
from email.policy import default
from itertools import islice

from deployments.errors import BadInput, BrokenDocument, UnsupportedDocument
from deployments.ingestion.base import ParsedDocument
from deployments.ingestion.parsers.html import parse_markup
from deployments.ingestion.parsers.structure import mark_headings
from deployments.ingestion.parsers.text import clean, decode, decode_declared, is_utf16

_LINES = ("From", "To", "Cc", "Date")
_ATTACHMENTS = 100
_HEADERS = (*_LINES, "Subject", "Message-ID", "Received")


def parse_email(data: bytes) -> ParsedDocument:
    """The plain text is preferred to the HTML, which says the same. Attachments are named, but not read."""
    try:
        message_bytes = decode(data).encode() if is_utf16(data) else data.removeprefix(codecs.BOM_UTF8)
        message = email.message_from_bytes(message_bytes, policy=default)
        if not any(name in message for name in _HEADERS):
            raise UnsupportedDocument(
                "the document is named as e-mail but has none of its headers (From, To, Date, Subject); "
                "export the message as .eml again"
            )
        title = clean(_line(message, "Subject"))
        text = "\n\n".join(filter(None, _parts(message, title)))
    except (BadInput, MemoryError, RecursionError):
        raise
    except Exception as error:  # the library may raise any error on hostile headers
        raise BrokenDocument("the e-mail is damaged; export the message as .eml again") from error
    return ParsedDocument(title=title, text=clean(text))


def _parts(message: EmailMessage, title: str) -> Iterator[str]:
    if title:
        yield f"# {title}"
    yield "\n".join(f"{name}: {value}" for name in _LINES if (value := _line(message, name)))
    yield _body(message)
    names = [clean(part.get_filename() or part.get_content_type()) for part in _attachments(message)]
    if names:
        yield f"Attachments: {', '.join(names)}"


def _attachments(message: EmailMessage) -> Iterator[MIMEPart]:
    """The first attachments, without nameless parts that only contain other parts."""
    for part in islice(message.iter_attachments(), _ATTACHMENTS):
        if part.get_filename() or not part.is_multipart() or part.get_content_maintype() == "message":
            yield part


def _line(message: EmailMessage, name: str) -> str:
    return " ".join(str(message.get(name, "")).split())


def _body(message: EmailMessage) -> str:
    plain, html = message.get_body(("plain",)), message.get_body(("html",))
    text = clean(mark_headings(clean(_text(plain)))) if plain is not None else ""
    return text if text or html is None else parse_markup(_text(html)).text


def _text(part: MIMEPart) -> str:
    content = part.get_payload(decode=True)
    return decode_declared(content, part.get_content_charset() or "") if isinstance(content, bytes) else ""
