"""Documents of an official gazette's shape, made of real Croatian words: about 120 KB of HTML and 48 chunks each.

A gazette's pages come out of a word processor: each paragraph and each run of words carries its style, so that the
text is a fifth of the bytes.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

CORPUS = Path(__file__).parents[1] / "corpus" / "hr"

_WORD = re.compile(r"[^\W\d_]{2,}")
_PARTS = 4
_ARTICLES = 7
"""In each part."""
_TABLES = 2
_ROWS = 8
_PARAGRAPH = (
    "margin:0cm 0cm 6.0pt 0cm;text-align:justify;text-indent:1.0cm;line-height:115%;"
    "font-size:10.0pt;font-family:'Times New Roman',serif;color:#231F20"
)
_RUN = "font-size:10.0pt;line-height:115%;font-family:'Times New Roman',serif;color:#231F20;letter-spacing:-.1pt"
_RUN_WORDS = 3
"""Words between two changes of style."""


def croatian_words(data: Path | None) -> list[str]:
    """The words of a text in its order and frequency: of the acts in `data`, or of the corpus that ships with us."""
    acts = sorted(data.glob("*.json")) if data and data.is_dir() else []
    texts = [
        provision["content"] for act in acts for provision in json.loads(act.read_text(encoding="utf-8"))["provisions"]
    ] or [path.read_text(encoding="utf-8") for path in sorted(CORPUS.glob("*.md"))]
    return [word for text in texts for word in _WORD.findall(text)]


def gazette_page(number: int, words: Sequence[str]) -> bytes:
    """The same page for the same number and words, and no other's text."""
    draw = random.Random(number)
    title = f"Pravilnik o {_words(draw, words, 6, 10).lower()} ({number})"
    tables = set(draw.sample(range(_PARTS * _ARTICLES), _TABLES))
    body = [f"<h1>{escape(title)}</h1>", _paragraph(draw, _sentence(draw, words))]
    for part in range(_PARTS):
        body.append(f"<h2>DIO {part + 1}. {escape(_words(draw, words, 3, 6).upper())}</h2>")
        for article in range(part * _ARTICLES, (part + 1) * _ARTICLES):
            body.append(f"<h3>Članak {article + 1}.</h3>")
            paragraphs = draw.randint(1, 3)
            body += [_paragraph(draw, f"({n + 1}) {_sentence(draw, words)}") for n in range(paragraphs)]
            if article in tables:
                body += _table(draw, words)
    head = f'<head><meta charset="utf-8"><title>{escape(title)}</title><style>p {{ margin: 0 }}</style></head>'
    navigation = "<nav><a href='/'>Narodne novine</a> <a href='/pretraga'>Pretraga</a></nav>"
    return f"<!DOCTYPE html><html lang='hr'>{head}<body>{navigation}{''.join(body)}</body></html>".encode()


def _sentence(draw: random.Random, words: Sequence[str]) -> str:
    return ". ".join(_words(draw, words, 10, 24).capitalize() for _ in range(draw.randint(1, 3))) + "."


def _words(draw: random.Random, words: Sequence[str], least: int, most: int) -> str:
    return " ".join(draw.choices(words, k=draw.randint(least, most)))


def _paragraph(draw: random.Random, text: str) -> str:
    return f'<p class="box_4588" style="{_PARAGRAPH}">{"".join(_runs(draw, text))}</p>\n'


def _runs(draw: random.Random, text: str) -> Iterator[str]:
    words = text.split()
    for start in range(0, len(words), _RUN_WORDS):
        run = escape(" ".join(words[start : start + _RUN_WORDS]))
        yield f'<span lang="HR" style="{_RUN}">{f"<b>{run}</b>" if draw.random() < 0.1 else run} </span>'


def _table(draw: random.Random, words: Sequence[str]) -> Iterator[str]:
    yield f'<table class="MsoNormalTable" border="1" style="{_PARAGRAPH}">'
    yield "<tr><th>Redni broj</th><th>Naziv</th><th>Iznos</th></tr>"
    for row in range(_ROWS):
        cells = (str(row + 1), _words(draw, words, 2, 5), f"{draw.randint(100, 99_999)},00")
        yield "<tr>" + "".join(f'<td style="{_RUN}">{escape(cell)}</td>' for cell in cells) + "</tr>"
    yield "</table>\n"
