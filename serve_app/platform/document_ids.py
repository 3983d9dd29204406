"""The ids of documents whose callers give none: made from what a document is, so that handed in again it is the same.

An id belongs to one owner, collection and file name, or to one owner, collection and text. Earlier releases made ids
that two of these could share. A document keeps such an id as long as it exists: what is handed in is compared with the
document that has the id.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from serve_app.platform.collections import DEFAULT

MAX_ID = 256
"""Characters of a document's id."""
Place = tuple[str, str, str]
"""Owner, collection and file name of a document. Owner and file name may be empty."""


@dataclass(frozen=True, slots=True)
class AutomaticId:
    """The ids that a document without one of its own may get.

    `preferred` is what a new document gets. `former` is what an earlier release gave it, and is only used where it has
    that id already. `spare` is taken where another document has the preferred one.
    """

    preferred: str
    former: str
    spare: str

    def all(self) -> tuple[str, ...]:
        return self.preferred, self.former, self.spare

    def choose(self, place: Place, taken: Mapping[str, Place]) -> str:
        """The id for a document at `place`. `taken`: those of the ids that documents have, with their places."""
        for known in self.all():
            if taken.get(known) == place:
                return known
        return self.spare if self.preferred in taken else self.preferred


def of_file(owner: str, collection: str, filename: str) -> AutomaticId:
    """`report.pdf`, `laws/2018/report.pdf`, `~user/laws/report.pdf`.

    A file in the default collection has the collection in front only where its name could be read as another's: it
    holds a slash, or begins like an owner.
    """
    user = f"~{_without_slash(owner)}/" if owner else ""
    has_folders = "/" in filename or (not owner and filename.startswith("~"))
    folder = f"{collection}/" if collection != DEFAULT or has_folders else ""
    spare = f"file-{digest(owner, collection, filename)}"
    preferred = f"{user}{folder}{filename}"
    return AutomaticId(_or_if_long(preferred, spare), _former_of_file(owner, collection, filename), spare)


def of_text(owner: str, collection: str, filename: str, content_hash: str) -> AutomaticId:
    """Of content that has no name of its own. `content_hash`: SHA-256 in hexadecimal."""
    former = f"doc-{digest(owner, filename, content_hash)}"
    own = f"doc-{digest(owner, filename, content_hash, collection)}"
    return AutomaticId(former if collection == DEFAULT else own, former, own)


def digest(*parts: str) -> str:
    """128 bits of the parts' SHA-256, in hexadecimal; no two lists of parts run together."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _without_slash(owner: str) -> str:
    return owner.replace("%", "%25").replace("/", "%2F")


def _or_if_long(id: str, other: str) -> str:
    return id if len(id) <= MAX_ID else other


def _former_of_file(owner: str, collection: str, filename: str) -> str:
    parts = (f"~{owner}" if owner else "", collection if collection != DEFAULT else "", filename)
    return "/".join(part for part in parts if part)
