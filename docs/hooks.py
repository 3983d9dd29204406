"""MkDocs: the pages that lie outside `docs` are part of the site, and links between both kinds work in both places."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
OUTSIDE = {
    "ARCHITECTURE.md": "project/architecture.md",
    "BENCHMARKS.md": "project/benchmarks.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "clients/elixir/README.md": "project/elixir.md",
    "clients/elixir/guides/phoenix.md": "project/phoenix.md",
}
"""Path in the repository → path in the site."""
_LINK = re.compile(r"(?<=\]\()(?!https?:|#)([^)#\s]+)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages from outside."""
    for source, place in OUTSIDE.items():
        text = (ROOT / source).read_text("utf-8")
        files.append(File.generated(config, place, content=_moved(text, source, place)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links of the pages in `docs` lead to those from outside."""
    place = page.file.src_uri
    return markdown if place in OUTSIDE.values() else _moved(markdown, f"docs/{place}", place)


def _moved(text: str, source: str, place: str) -> str:
    """The text with links that hold at `place` in the site. `source`: where the page is in the repository.

    A link to a file that is no page of the site becomes the file's path.
    """

    def target(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[1]))
        in_site = OUTSIDE.get(path, path.removeprefix("docs/") if path.startswith("docs/") else None)
        return link[1] if in_site is None else posixpath.relpath(in_site, posixpath.dirname(place) or ".")

    def to_source(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[2]))
        is_page = path in OUTSIDE or path.startswith("docs/")
        return link[0] if is_page or not (ROOT / path).exists() else link[1]

    text = re.sub(r"\[([^\]]+)\]\((?!https?:|#)([^)#\s]+)\)", to_source, text)
    return _LINK.sub(target, text)
