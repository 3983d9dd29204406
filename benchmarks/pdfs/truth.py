"""What a reader sees in a generated PDF, and the words that it is made of."""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from benchmarks.gazette import croatian_words

_TOKEN = re.compile(r"[^\W_]+")
_HEBREW = (
    "העירייה מחזירה את המפתח באותו היום ומי שאינו מחזיר אותו בזמן משלם קנס לפי המחירון שפורסם באתר כל תושב רשאי "
    "להגיש בקשה לקבלת תמיכה במשרד החינוך עד סוף החודש והמועצה תחליט בתוך שלושים יום מיום קבלת הבקשה והמסמכים"
)
Row = Sequence[str]


@dataclass(slots=True)
class Truth:
    """`words` are all letters and figures in reading order, without running heads and page numbers.

    `rows` are those of tables and statements, as the text of their cells. `headings` are in order.
    """

    name: str
    data: bytes = b""
    words: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    headings: list[list[str]] = field(default_factory=list)

    def add(self, *texts: str) -> None:
        for text in texts:
            self.words += tokens(text)

    def add_heading(self, text: str) -> None:
        self.headings.append(tokens(text))
        self.add(text)

    def add_row(self, cells: Row) -> None:
        self.rows.append(tokens(" ".join(cells)))
        self.add(*cells)


def tokens(text: str) -> list[str]:
    """The words and figures of a text, without signs."""
    return _TOKEN.findall(text)


class Author:
    """Writes texts: the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self._words = _vocabulary()

    def word(self) -> str:
        return self.draw.choice(self._words)

    def words(self, fewest: int, most: int) -> str:
        return " ".join(self.word() for _ in range(self.draw.randint(fewest, most)))

    def plain_words(self, fewest: int, most: int) -> str:
        """Words of ASCII letters, for writers whose forms know no others."""
        decomposed = unicodedata.normalize("NFD", self.words(fewest, most)).replace("đ", "d")
        return decomposed.encode("ascii", "ignore").decode()

    def title(self) -> str:
        return self.words(3, 6).capitalize()

    def sentence(self) -> str:
        text = self.words(8, 22).capitalize()
        if self.draw.random() < 0.25:
            text += f" od {self.draw.randint(2, 400)} {self.word()}"
        if self.draw.random() < 0.3:
            text += f", {self.words(3, 8)}"
        return f"{text}."

    def paragraph(self, fewest: int = 2, most: int = 5) -> str:
        return " ".join(self.sentence() for _ in range(self.draw.randint(fewest, most)))

    def hebrew(self, count: int) -> str:
        return " ".join(self.draw.choice(_HEBREW.split()) for _ in range(count))

    def amount(self) -> str:
        return f"{self.draw.randint(1, 9999)},{self.draw.randint(0, 99):02}"

    def date(self) -> str:
        return f"{self.draw.randint(1, 28):02}.{self.draw.randint(1, 12):02}.2026."

    def table(self, rows: int) -> list[list[str]]:
        """A header and rows of four cells."""
        body = [[f"{n + 1}.", self.words(1, 3), str(self.draw.randint(1, 90)), self.amount()] for n in range(rows)]
        return [["Redni broj", "Naziv usluge", "Količina", "Iznos"], *body]


@lru_cache(maxsize=1)
def _vocabulary() -> tuple[str, ...]:
    return tuple(word.lower() for word in croatian_words(None) if len(word) < 15)
