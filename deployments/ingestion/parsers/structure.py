"""Finds headings that only their words show, as in statutes: `Članak 12.` on a line of its own."""

from __future__ import annotations

import re

_ARTICLE = re.compile(r"(?:Članak|ČLANAK|Clanak|Article|ARTICLE)\s+\d+\s?\.?\s?[a-zčćđšž]?\.?")
_CHAPTER = re.compile(
    r"(?:DIO|GLAVA|POGLAVLJE|ODJELJAK|PRILOG|CHAPTER|PART)\s+[^a-zčćđšž]{1,200}|[IVXLC]+\.\s+[^a-zčćđšž]{3,200}"
)
_TITLE = re.compile(r"(?:[IVXLC]{1,7}\.\s+)?[A-ZČĆĐŠŽ][^|.:;!?]{2,220}(?<![\s,–-])")
_TRAILING_TITLE = re.compile(rf"(.*?[.;)])\s+({_TITLE.pattern})")
_MARKED = re.compile(r" {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*")
_EMPHASIS = re.compile(r"^(\*\*|__|\*|_)(.+)\1$")
_FENCE = ("```", "~~~")


def is_heading(line: str) -> bool:
    return bool(_ARTICLE.fullmatch(line) or _CHAPTER.fullmatch(line))


def mark_headings(text: str) -> str:
    """The text with Markdown headings: `## Članak 12.` for an article, `# …` for a chapter or a title above an article.

    In statutes a title stands above the first article that it names. Where a text was copied without line breaks, the
    title is at the end of the paragraph above. Headings that are marked already stay as they are. A title above one of
    them is marked one level higher, so that it is a heading of the articles below it.
    """
    lines = text.split("\n")
    marked: list[str] = []
    fenced = False
    for index, line in enumerate(lines):
        bare = _bare(line)
        if line.lstrip().startswith(_FENCE):
            fenced = not fenced
        if fenced or _MARKED.fullmatch(line):
            marked.append(line)
        elif _ARTICLE.fullmatch(bare):
            marked += ["", f"## {bare}", ""]
        elif _CHAPTER.fullmatch(bare):
            marked += ["", f"# {bare}", ""]
        elif not (mark := _mark_above_article(lines, index)):
            marked.append(line)
        elif _TITLE.fullmatch(bare) and not _is_below_article(lines, index):
            marked += ["", f"{mark} {bare}", ""]
        elif trailing := _TRAILING_TITLE.fullmatch(bare):
            marked += [trailing[1], "", f"{mark} {trailing[2]}", ""]
        else:
            marked.append(line)
    return "\n".join(marked)


def _bare(line: str) -> str:
    """The line without Markdown emphasis around it, and with single spaces."""
    bare = " ".join(line.split())
    emphasised = _EMPHASIS.match(bare)
    return emphasised[2].strip() if emphasised else bare


def _mark_above_article(lines: list[str], index: int) -> str:
    """The mark of a title on this line, if the line has text and the next one with text is an article's heading."""
    if not lines[index].strip():
        return ""
    return _title_mark(next((line for line in lines[index + 1 : index + 4] if line.strip()), ""))


def _title_mark(line: str) -> str:
    """The mark of a title above an article's heading: one level higher, if there is one. Empty for another line."""
    heading = _MARKED.fullmatch(line)
    if not _ARTICLE.fullmatch(_bare(heading[2] if heading else line)):
        return ""
    return "#" * max(1, len(heading[1]) - 1) if heading else "#"


def _is_below_article(lines: list[str], index: int) -> bool:
    """Whether the line before with text is an article's heading. Then this line is the article's whole text."""
    return bool(_title_mark(next((line for line in reversed(lines[max(index - 3, 0) : index]) if line.strip()), "")))
