"""Headings that a text shows by its words alone, as statutes do: `Članak 12.` on a line of its own."""

from __future__ import annotations

import re

_ARTICLE = re.compile(r"(?:Članak|ČLANAK|Clanak|Article|ARTICLE)\s+\d+\s?\.?\s?[a-zčćđšž]?\.?")
_CHAPTER = re.compile(
    r"(?:DIO|GLAVA|POGLAVLJE|ODJELJAK|PRILOG|CHAPTER|PART)\s+[^a-zčćđšž]{1,200}|[IVXLC]+\.\s+[^a-zčćđšž]{3,200}"
)
_TITLE = re.compile(r"[A-ZČĆĐŠŽ][^|.:;!?]{2,120}(?<![\s,–-])")
_TRAILING_TITLE = re.compile(rf"(.*[.;)])\s+({_TITLE.pattern})")
_EMPHASIS = re.compile(r"^(\*\*|__|\*|_)(.+)\1$")
_FENCE = ("```", "~~~")


def is_heading(line: str) -> bool:
    return bool(_ARTICLE.fullmatch(line) or _CHAPTER.fullmatch(line))


def mark_headings(text: str) -> str:
    """Turn an article's line into `## Članak 12.` and a chapter's, or the title above an article, into `# …`.

    A title stands above the article it names and holds until the next one, as in statutes. Where the text was
    copied without line breaks it hangs at the end of the paragraph above the article.
    """
    lines = text.split("\n")
    marked: list[str] = []
    fenced = False
    for index, line in enumerate(lines):
        bare = _bare(line)
        if line.lstrip().startswith(_FENCE):
            fenced = not fenced
        if fenced:
            marked.append(line)
        elif _ARTICLE.fullmatch(bare):
            marked += ["", f"## {bare}", ""]
        elif _CHAPTER.fullmatch(bare):
            marked += ["", f"# {bare}", ""]
        elif not _is_above_article(lines, index):
            marked.append(line)
        elif _TITLE.fullmatch(bare) and not _is_below_article(lines, index):
            marked += ["", f"# {bare}", ""]
        elif trailing := _TRAILING_TITLE.fullmatch(bare):
            marked += [trailing[1], "", f"# {trailing[2]}", ""]
        else:
            marked.append(line)
    return "\n".join(marked)


def _bare(line: str) -> str:
    """A line without the emphasis around it and without doubled spaces."""
    bare = " ".join(line.split())
    emphasised = _EMPHASIS.match(bare)
    return emphasised[2].strip() if emphasised else bare


def _is_above_article(lines: list[str], index: int) -> bool:
    """Whether a line has text and the next one that has is an article's."""
    following = next((_bare(line) for line in lines[index + 1 : index + 4] if line.strip()), "")
    return bool(lines[index].strip() and _ARTICLE.fullmatch(following))


def _is_below_article(lines: list[str], index: int) -> bool:
    """Whether the line before with text is an article's: then this one is all that the article says."""
    before = next((_bare(line) for line in reversed(lines[max(index - 3, 0) : index]) if line.strip()), "")
    return bool(_ARTICLE.fullmatch(before))
