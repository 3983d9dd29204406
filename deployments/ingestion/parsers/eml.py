"""Parses e-mail: subject, sender, recipients, date, text, and attachments of the kinds that are read."""

from __future__ import annotations

import codecs
import email
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.message import EmailMessage, MIMEPart
from email.policy import default

from deployments.errors import BadInput, BrokenDocument, DocumentTooLarge, UnsupportedDocument
from deployments.ingestion.base import ParsedDocument
from deployments.ingestion.omissions import Omission
from deployments.ingestion.parsers.eml_calendar import invitations
from deployments.ingestion.parsers.eml_headers import decode_file_name, line
from deployments.ingestion.parsers.html import parse_markup
from deployments.ingestion.parsers.limits import BoundedText, Limits
from deployments.ingestion.parsers.text import clean, decode, decode_declared, is_utf16, prose

_LINES = ("From", "To", "Cc", "Date")
_ATTACHMENTS = 100
_DEPTH = 5
"""Messages inside one another that are read."""
_CALENDAR = "text/calendar"
_READ_IN_PLACE = ("text/plain", "text/html", _CALENDAR)
_WORD = re.compile(r"\w+")
_SHARE = 0.5
"""A plain text with a smaller share of the words of the same message's page only says that there is one."""
_HEADERS = (*_LINES, "Subject", "Message-ID", "Received")


def parse_email(data: bytes, limits: Limits) -> ParsedDocument:
    """The plain text is preferred to the HTML, which says the same. Several texts without names are read in order, and
    invitations beside the text.

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
        title = clean(line(message, "Subject"))
        text = BoundedText(limits.text_characters)
        left_out: Counter[Omission] = Counter()
        for part in filter(None, _parts(message, title, limits, left_out, depth=0)):
            text.add(part)
    except (BadInput, MemoryError, RecursionError):
        raise
    except Exception as error:  # the library may raise any error on hostile headers
        raise BrokenDocument("the e-mail is damaged; export the message as .eml again") from error
    return ParsedDocument(title=title, text=clean(str(text)), left_out=left_out)


def _parts(message: EmailMessage, title: str, limits: Limits, left_out: Counter[Omission], depth: int) -> Iterator[str]:
    for part in message.walk():
        decode_file_name(part)
    if title:
        yield f"# {title}"
    yield "\n".join(f"{name}: {value}" for name in _LINES if (value := line(message, name)))
    content = _content(message)
    for text in content.texts:
        left_out.update(text.left_out)
        yield text.text
    left_out["attachment"] += len(content.files[_ATTACHMENTS:])
    if read := content.files[:_ATTACHMENTS]:
        yield f"Attachments: {', '.join(map(_name, read))}"
    for attachment in read:
        yield from _attached(attachment, limits, left_out, depth)


def _name(part: MIMEPart) -> str:
    return clean(part.get_filename() or part.get_content_type())


def _attached(part: MIMEPart, limits: Limits, left_out: Counter[Omission], depth: int) -> Iterator[str]:
    """An attachment's text below its name; nothing for pictures and other kinds that are not read."""
    if part.get_content_type() == "message/rfc822":
        inner = _message(part)
        if inner is not None and depth < _DEPTH:
            yield from _parts(inner, clean(line(inner, "Subject")), limits, left_out, depth + 1)
        else:
            left_out["attachment"] += 1
        return
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes):
        left_out["attachment_kind"] += 1
        return
    from deployments.ingestion.parsers import parse  # which imports this module

    filename, media_type = part.get_filename() or "", part.get_content_type()
    if not filename and media_type.startswith("text/"):
        content = decode_declared(content, part.get_content_charset() or "").encode()
    try:
        document = parse(content, filename, media_type, limits)
    except (DocumentTooLarge, BrokenDocument) as error:
        left_out["attachment"] += 1
        yield f"Attachment that was not read: {_name(part)} ({error.message})"
    except UnsupportedDocument:
        left_out["attachment_kind"] += 1
    else:
        left_out.update(document.left_out)
        fields = "\n".join(f"{key}: {_written(value)}" for key, value in document.metadata.items())
        yield "\n\n".join(filter(None, (f"## {_name(part)}", fields, document.text)))


def _written(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _message(part: MIMEPart) -> EmailMessage | None:
    """An attached message. Some programs encode it, although that is not allowed; then the library leaves it so."""
    inner = part.get_content()
    if isinstance(inner, EmailMessage) and not inner.keys():
        inner["Content-Transfer-Encoding"] = str(part.get("Content-Transfer-Encoding", ""))
        content = inner.get_payload(decode=True)
        inner = email.message_from_bytes(content if isinstance(content, bytes) else b"", policy=default)
    return inner if isinstance(inner, EmailMessage) else None


@dataclass(frozen=True, slots=True)
class _Content:
    """What a part of a message holds: texts that are read in the message itself, and files."""

    texts: Sequence[ParsedDocument] = ()
    files: Sequence[MIMEPart] = ()


def _content(part: MIMEPart) -> _Content:
    kind = part.get_content_type()
    if not part.is_multipart() or part.get_content_maintype() == "message":
        if kind not in _READ_IN_PLACE or _is_file(part):
            return _Content(files=[part])
        text = _text(part)
        return _Content(texts=[text] if text.text else [])
    contents = [_content(inner) for inner in part.iter_parts()]
    files = [file for content in contents for file in content.files]
    if kind == "multipart/alternative":
        texts = _preferred(part, contents)
        # What only shows the same in another way is no file.
        return _Content(texts, [file for file in files if _is_file(file)])
    if kind == "multipart/related":  # its other parts are the pictures of its page
        files = [file for file in files if file.get_content_maintype() != "image"]
    return _Content([text for content in contents for text in content.texts], files)


def _preferred(part: MIMEPart, contents: Sequence[_Content]) -> Sequence[ParsedDocument]:
    """The texts of the plainest of several forms that has any, and the invitation, which mail programs show above it.

    A plain text that says far less than the page is no form of it.
    """
    forms = [
        (inner.get_content_type(), content.texts) for inner, content in zip(part.iter_parts(), contents, strict=True)
    ]
    invitation = [text for kind, texts in forms if kind == _CALENDAR for text in texts]
    texts = [texts for kind, texts in forms if kind == "text/plain"] + [
        texts for kind, texts in forms if kind not in ("text/plain", _CALENDAR)
    ]
    most = max(map(_words, texts), default=0)
    told = next((each for each in texts if each and _words(each) >= _SHARE * most), ())
    return [*told, *invitation]


def _words(texts: Sequence[ParsedDocument]) -> int:
    return sum(len(_WORD.findall(text.text)) for text in texts)


def _is_file(part: MIMEPart) -> bool:
    return bool(part.get_filename()) or part.is_attachment()


def _text(part: MIMEPart) -> ParsedDocument:
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes):
        return ParsedDocument("", "")
    text = decode_declared(content, part.get_content_charset() or "")
    if part.get_content_type() == _CALENDAR:
        return ParsedDocument("", clean(invitations(text)))
    return parse_markup(text) if part.get_content_type() == "text/html" else ParsedDocument("", prose(text))
