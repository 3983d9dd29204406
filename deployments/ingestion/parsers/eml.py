"""Parses e-mail: subject, sender, recipients, date, text, and attachments of the kinds that are read."""

from __future__ import annotations

import codecs
import email
from collections.abc import Iterator
from email.message import EmailMessage, MIMEPart
from email.policy import default
from itertools import islice

from deployments.errors import BadInput, BrokenDocument, DocumentTooLarge, UnsupportedDocument
from deployments.ingestion.base import ParsedDocument
from deployments.ingestion.parsers.html import parse_markup
from deployments.ingestion.parsers.limits import BoundedText, Limits
from deployments.ingestion.parsers.text import clean, decode, decode_declared, is_utf16, prose

_LINES = ("From", "To", "Cc", "Date")
_ATTACHMENTS = 100
_DEPTH = 5
"""Messages inside one another that are read."""
_HEADERS = (*_LINES, "Subject", "Message-ID", "Received")


def parse_email(data: bytes, limits: Limits) -> ParsedDocument:
    """The plain text is preferred to the HTML, which says the same.

    Attached messages and documents follow, each under its name. One that cannot be read is named with the reason.
    """
    try:
        message_bytes = decode(data).encode() if is_utf16(data) else data.removeprefix(codecs.BOM_UTF8)
        message = email.message_from_bytes(message_bytes, policy=default)
        if not any(name in message for name in _HEADERS):
            raise UnsupportedDocument(
                "the document is named as e-mail but has none of its headers (From, To, Date, Subject); "
                "export the message as .eml again"
            )
        title = clean(_line(message, "Subject"))
        text = BoundedText(limits.text_characters)
        for part in filter(None, _parts(message, title, limits, depth=0)):
            text.add(part)
    except (BadInput, MemoryError, RecursionError):
        raise
    except Exception as error:  # the library may raise any error on hostile headers
        raise BrokenDocument("the e-mail is damaged; export the message as .eml again") from error
    return ParsedDocument(title=title, text=clean(str(text)))


def _parts(message: EmailMessage, title: str, limits: Limits, depth: int) -> Iterator[str]:
    if title:
        yield f"# {title}"
    yield "\n".join(f"{name}: {value}" for name in _LINES if (value := _line(message, name)))
    yield _body(message)
    attachments = [*_attachments(message)]
    if attachments:
        yield f"Attachments: {', '.join(map(_name, attachments))}"
    for attachment in attachments:
        yield from _attached(attachment, limits, depth)


def _name(part: MIMEPart) -> str:
    return clean(part.get_filename() or part.get_content_type())


def _attached(part: MIMEPart, limits: Limits, depth: int) -> Iterator[str]:
    """An attachment's text below its name; nothing for pictures and other kinds that are not read."""
    if part.get_content_type() == "message/rfc822":
        inner = part.get_content()
        if isinstance(inner, EmailMessage) and depth < _DEPTH:
            yield from _parts(inner, clean(_line(inner, "Subject")), limits, depth + 1)
        return
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes):
        return
    from deployments.ingestion.parsers import parse  # which imports this module

    filename, media_type = part.get_filename() or "", part.get_content_type()
    if not filename and media_type.startswith("text/"):
        content = decode_declared(content, part.get_content_charset() or "").encode()
    try:
        yield f"## {_name(part)}\n\n{parse(content, filename, media_type, limits).text}"
    except (DocumentTooLarge, BrokenDocument) as error:
        yield f"Attachment that was not read: {_name(part)} ({error.message})"
    except UnsupportedDocument:
        return


def _attachments(message: EmailMessage) -> Iterator[MIMEPart]:
    """The first attachments, without nameless parts that only contain other parts."""
    for part in islice(message.iter_attachments(), _ATTACHMENTS):
        if part.get_filename() or not part.is_multipart() or part.get_content_maintype() == "message":
            yield part


def _line(message: EmailMessage, name: str) -> str:
    raw = next((value for key, value in message.raw_items() if key.lower() == name.lower()), "")
    if any("\udc80" <= character <= "\udcff" for character in raw):  # bytes that no encoding is declared for
        text = decode(raw.encode("utf-8", "surrogateescape"))
        return " ".join(text.split())
    return " ".join(str(message.get(name, "")).split())


def _body(message: EmailMessage) -> str:
    plain, html = message.get_body(("plain",)), message.get_body(("html",))
    text = prose(_text(plain)) if plain is not None else ""
    return text if text or html is None else parse_markup(_text(html)).text


def _text(part: MIMEPart) -> str:
    content = part.get_payload(decode=True)
    return decode_declared(content, part.get_content_charset() or "") if isinstance(content, bytes) else ""
