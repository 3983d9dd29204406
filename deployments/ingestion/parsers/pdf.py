"""Parses PDF: joins lines into paragraphs and headings by their positions and sizes on the page."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import pypdfium2 as pdfium

from deployments.errors import BrokenDocument, DocumentTooLarge
from deployments.ingestion.base import ParsedDocument
from deployments.ingestion.parsers.limits import Limits
from deployments.ingestion.parsers.pages import page_offsets
from deployments.ingestion.parsers.structure import is_heading, mark_headings
from deployments.ingestion.parsers.text import clean

_HYPHEN = "\ufffe\x02"  # PDFium's marks for a hyphen that only the end of the line put there
_LINE = re.compile(rf"([^\r\n{_HYPHEN}]*)([{_HYPHEN}]|\r\n|\r|\n|$)")
_BULLET = re.compile(r"[•▪●○◦‣*–—-]\s")
_NUMBERED = re.compile(r"\(?(?:\d{1,3}|[a-zčćđšž]|[ivx]{1,5})[.)]\s")
_RULE = re.compile(r"[-=_*~.·—–\s]{3,}")
_NO_TITLE = re.compile(r"\(anonymous\)|untitled\b.*|Microsoft \w+ - .*|.*\.(?:docx?|pdf|indd|tex)", re.IGNORECASE)
_ENDS = (".", ":", ";", "!", "?")
_MARGIN_LINES = 2
_MARGIN_SHARE = 0.6
_HEADING_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text. Pages count from 1. Lengths are in points, and y grows upwards. `first_word` is its width."""

    page: int
    text: str
    left: float
    right: float
    bottom: float
    height: float
    first_word: float
    hyphenated: bool


@dataclass(slots=True)
class _Paragraph:
    text: str
    height: float


def parse_pdf(data: bytes, limits: Limits) -> ParsedDocument:
    """Raises BrokenDocument (damaged, encrypted, scanned), and DocumentTooLarge as soon as a limit is passed."""
    try:
        document = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        if "password" in str(error).lower():
            raise BrokenDocument("the PDF is protected by a password; save it without one and send it again") from error
        raise BrokenDocument("the PDF is damaged or cut off; send a whole copy") from error
    try:
        limits.check_pages(len(document))
        pages = [*_pages(document, limits.text_characters)]
        title = clean(document.get_metadata_dict().get("Title", ""))
    except pdfium.PdfiumError as error:
        raise BrokenDocument("a page of the PDF is damaged; print it to a new PDF and send that") from error
    finally:
        document.close()
    if not any(pages):
        raise BrokenDocument(
            f"the PDF has no text on any of its {len(pages)} pages, so it is probably a scan; "
            "run text recognition (OCR) on it first"
        )
    lines = _without_margins(pages)
    text = clean(mark_headings("\n\n".join(_markdown(_paragraphs(lines)))))
    return ParsedDocument(
        title="" if _NO_TITLE.fullmatch(title) else title,
        text=text,
        pages=page_offsets(((line.page, clean(line.text)) for line in lines), text),
    )


def _pages(document: pdfium.PdfDocument, text_characters: int) -> Iterator[list[Line]]:
    total = 0
    for number in range(len(document)):
        page = document[number]
        textpage = page.get_textpage()
        try:
            total += textpage.count_chars()
            if total > text_characters:
                raise DocumentTooLarge(f"the PDF holds more than {text_characters:,} characters of text; split it")
            yield [*_lines(textpage, number + 1)]
        finally:
            textpage.close()
            page.close()


def _lines(textpage: pdfium.PdfTextPage, page: int) -> Iterator[Line]:
    count = textpage.count_chars()
    if not count:
        return
    # PDFium counts UTF-16 units. One character per unit makes positions in the string the same as PDFium's.
    encoded = textpage.get_text_range(0, count).encode("utf-16-le", "surrogatepass")
    units = "".join(chr(int.from_bytes(encoded[i : i + 2], "little")) for i in range(0, len(encoded), 2))
    for match in _LINE.finditer(units):
        text = match[1].strip()
        if not text or _RULE.fullmatch(text):
            continue
        start = match.start(1) + len(match[1]) - len(match[1].lstrip())
        end = min(start + len(text), count) - 1
        word_end = min(start + len(text.split(None, 1)[0]), count) - 1
        left, bottom, _, top = textpage.get_charbox(min(start, count - 1), loose=True)
        yield Line(
            page=page,
            text=text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"),
            left=left,
            right=textpage.get_charbox(end, loose=True)[2],
            bottom=bottom,
            height=top - bottom,
            first_word=textpage.get_charbox(word_end, loose=True)[2] - left,
            hyphenated=bool(match[2]) and match[2] in _HYPHEN,
        )


def _without_margins(pages: list[list[Line]]) -> list[Line]:
    """All lines but running headers, footers and page numbers: the first or last lines that most pages share,
    digits aside."""
    if len(pages) < 3:
        return [line for page in pages for line in page]
    counts = Counter(key for page in pages for key in {_margin_key(line) for line in _margin(page)})
    running = {key for key, count in counts.items() if count >= _MARGIN_SHARE * len(pages)}
    kept: list[Line] = []
    for page in pages:
        margin = {id(line) for line in _margin(page) if _margin_key(line) in running and not is_heading(line.text)}
        kept += [line for line in page if id(line) not in margin]
    return kept


def _margin(page: list[Line]) -> list[Line]:
    return page[:_MARGIN_LINES] + page[_MARGIN_LINES:][-_MARGIN_LINES:]


def _margin_key(line: Line) -> str:
    return re.sub(r"\d+", "#", line.text).casefold()


def _paragraphs(lines: list[Line]) -> list[_Paragraph]:
    pitch = _pitch(lines)
    edges = _right_edges(lines)
    paragraphs: list[_Paragraph] = []
    previous: Line | None = None
    for line in lines:
        if previous is None or not _continues(previous, line, pitch, edges):
            paragraphs.append(_Paragraph(line.text, line.height))
        else:
            paragraphs[-1].text += line.text if previous.hyphenated else f" {line.text}"
        previous = line
    return paragraphs


def _pitch(lines: list[Line]) -> float:
    """The usual distance from one line to the next."""
    steps = [
        line.bottom - following.bottom
        for line, following in pairwise(lines)
        if line.page == following.page and line.bottom > following.bottom
    ]
    return median(steps) if steps else 0.0


def _right_edges(lines: Iterable[Line]) -> dict[tuple[int, int], float]:
    """(page, column) → where its longest line ends. Columns are where lines start, in steps of half an inch."""
    edges: dict[tuple[int, int], float] = {}
    for line in lines:
        for key in _columns(line):
            edges[key] = max(edges.get(key, 0.0), line.right)
    return edges


def _columns(line: Line) -> tuple[tuple[int, int], ...]:
    column = round(line.left / 36)
    return ((line.page, column - 1), (line.page, column), (line.page, column + 1))


def _continues(previous: Line, line: Line, pitch: float, edges: dict[tuple[int, int], float]) -> bool:
    """Whether a line continues the paragraph of the line before it."""
    if previous.hyphenated:
        return True
    if is_heading(previous.text) or is_heading(line.text) or _BULLET.match(line.text):
        return False
    same_column = previous.page == line.page and line.bottom <= previous.bottom + 0.5 * line.height
    if same_column:
        step = previous.bottom - line.bottom
        if step < 0.5 * line.height:
            return line.left >= previous.right  # in the same row, after a gap
        if step > 1.3 * max(pitch, line.height) or not 0.85 < line.height / (previous.height or 1.0) < 1.18:
            return False
    # A line was wrapped only if the next line's first word did not fit on it.
    room = edges[previous.page, round(previous.left / 36)] - previous.right
    if room > line.first_word + 0.35 * line.height:
        return False
    sentence_ended = previous.text.endswith(_ENDS)
    if _NUMBERED.match(line.text) and sentence_ended:
        return False
    return same_column or not sentence_ended


def _markdown(paragraphs: list[_Paragraph]) -> Iterator[str]:
    """The paragraphs as Markdown. Those in clearly larger type than most text become headings, levels by size."""
    characters: Counter[float] = Counter()  # height → characters of that height
    for paragraph in paragraphs:
        characters[round(paragraph.height, 1)] += len(paragraph.text)
    body = characters.most_common(1)[0][0] if characters else 0.0
    large = [paragraph for paragraph in paragraphs if _is_large(paragraph, body)]
    sizes = sorted({round(paragraph.height) for paragraph in large}, reverse=True)
    for paragraph in paragraphs:
        if _is_large(paragraph, body) and not is_heading(paragraph.text):
            yield f"{'#' * min(1 + sizes.index(round(paragraph.height)), 4)} {paragraph.text}"
        else:
            yield _BULLET.sub("- ", paragraph.text, count=1) if _BULLET.match(paragraph.text) else paragraph.text


def _is_large(paragraph: _Paragraph, body: float) -> bool:
    return paragraph.height > 1.15 * body and len(paragraph.text) <= _HEADING_CHARACTERS
