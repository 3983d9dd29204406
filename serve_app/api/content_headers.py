"""The headers with which a document's bytes are sent: what they are, what to call them, and that they must not act.

A tenant's document may be HTML with scripts. A browser that opens it must not run them on the service's origin.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from typing import Final
from urllib.parse import quote

from deployments.ingestion.parsers.media_types import extension_of, media_type_of
from serve_app.storage.tables import DocumentFields

UNKNOWN: Final = "application/octet-stream"
_TEXTS = ("text/plain", "text/markdown", "text/x-markdown", "text/csv", "text/tab-separated-values")
"""They do not say themselves which charset they are in. None of them can act in a browser."""
_PDF: Final = "application/pdf"
_MEDIA_TYPE = re.compile(r"([a-z0-9!#$&^_.+-]{1,127}/[a-z0-9!#$&^_.+-]{1,127})\s*(?:;.*)?", re.IGNORECASE)
_CHARSET = re.compile(r';\s*charset="?([a-z0-9_.:+-]{1,40})"?\s*(?:;|$)', re.IGNORECASE)
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
"""Nothing is loaded and no script runs. Browsers show text by a style sheet of their own."""
_SEPARATORS = re.compile(r"[/\\]")
_FORBIDDEN_IN_NAMES = frozenset('<>:"|?*')
"""By one of the usual file systems, beside the separators."""
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9_ .()\[\]+,=@&;!-]")
"""Left out of the plain file name: what quotes, escapes, or is no ASCII. Some clients decode `%`."""


def content_headers(document: DocumentFields, document_id: str, head: bytes) -> dict[str, str]:
    """`head`: the first bytes of the document, or all."""
    media_type, charset = _declared(document)
    if not charset and media_type in _TEXTS and _is_utf8(head, is_all=len(head) >= document.size):
        charset = "utf-8"
    is_shown = media_type in (*_TEXTS, _PDF)
    return {
        "Content-Type": f"{media_type}; charset={charset}" if charset else media_type,
        "Content-Disposition": _disposition(is_shown, _file_name(document, document_id, media_type)),
        # Browsers show no PDF in a sandbox. Scripts in a PDF are confined to the browser's viewer.
        "Content-Security-Policy": _POLICY if media_type == _PDF else f"{_POLICY}; sandbox",
        "X-Content-Type-Options": "nosniff",
        "Accept-Ranges": "bytes",
        **validators(document),
    }


def validators(document: DocumentFields) -> dict[str, str]:
    """By which a client finds out whether it has the bytes already.

    There is no Last-Modified: a document's time also changes with its metadata, and two versions may come in a second.
    """
    return {"ETag": etag(document), "Cache-Control": "private, no-cache"}


def etag(document: DocumentFields) -> str:
    """The strong entity tag of a document's bytes: their SHA-256, as the document shows it."""
    return f'"{document.content_hash}"'


def _declared(document: DocumentFields) -> tuple[str, str]:
    """The media type that the document was handed in with, or that its name says, and the charset or an empty text."""
    found = _MEDIA_TYPE.fullmatch(document.media_type.strip())
    declared = found[1].lower() if found else UNKNOWN
    charset = _CHARSET.search(document.media_type) if found else None
    if declared == UNKNOWN:
        return media_type_of(document.filename) or UNKNOWN, ""
    return declared, charset[1] if charset else ""


def _is_utf8(head: bytes, *, is_all: bool) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head, final=is_all)
    except UnicodeDecodeError:
        return False
    return b"\0" not in head  # as in UTF-16


def _file_name(document: DocumentFields, document_id: str, media_type: str) -> str:
    """A name without folders, and without signs that hide, reorder or redirect it."""
    last = _SEPARATORS.split(document.filename or document_id)[-1]
    name = "".join("_" if _is_unsafe(sign) else sign for sign in last).strip(" .") or "document"
    extension = "" if document.filename else extension_of(media_type)
    return name if name.lower().endswith(extension) else f"{name}{extension}"


def _is_unsafe(sign: str) -> bool:
    return sign in _FORBIDDEN_IN_NAMES or unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _disposition(is_shown: bool, name: str) -> str:
    """Content-Disposition (RFC 6266): a plain name for all clients, and the true one (RFC 8187) where it differs."""
    letters = unicodedata.normalize("NFKD", name.replace("đ", "d").replace("Đ", "D"))
    plain = _NOT_PLAIN.sub("_", "".join(sign for sign in letters if not unicodedata.combining(sign)))
    named = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='!#$&+^`|')}"
    return f'{"inline" if is_shown else "attachment"}; filename="{plain}"{named}'
