"""The numbers of a text, each with what it counts, and its dates: what a statement must share with its source.

"15 dana", "fifteen days" and "petnaest (15) dana" are the same fact, as are "čl. 12." and "Article 12", and
"25. svibnja 2018.", "25.5.2018." and "2018-05-25". Terms of a language are of either, so that a Croatian answer can be
held against an English passage.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deployments.lexical import statute_parts, words
from deployments.types import Language

_SUFFIX_UNITS = {
    "day": "dan dana danu dane dani danom danima day days",
    "week": "tjedan tjedna tjednu tjedni tjedne tjedana tjednima week weeks",
    "month": "mjesec mjeseca mjesecu mjeseci mjesece mjesecom mjesecima month months",
    "year": "godina godine godini godinu godinom godinama year years",
    "hour": "sat sata sati satu sate satima hour hours",
    "minute": "minuta minute minuti minutu minutama minutes",
    "euro": "eur euro eura euru eure euri eurima euros",
    "kuna": "kn hrk kuna kune kuni kunu kunama",
    "dollar": "usd dolar dolara dolari dolare dollar dollars",
    "percent": "posto postotak postotka postotaka percent",
}
_PREFIX_UNITS = {"article": "section sections", "euro": "eur euro", "dollar": "usd"}
"""Beside what parts of a statute are called."""
_MONTHS = (
    "sijecanj sijecnja sijecnju january jan",
    "veljaca veljace veljaci veljacu february feb",
    "ozujak ozujka ozujku march mar",
    "travanj travnja travnju april apr",
    "svibanj svibnja svibnju may",
    "lipanj lipnja lipnju june jun",
    "srpanj srpnja srpnju july jul",
    "kolovoz kolovoza kolovozu august aug",
    "rujan rujna rujnu september sep sept",
    "listopad listopada listopadu october oct",
    "studeni studenog studenoga studenom november nov",
    "prosinac prosinca prosincu december dec",
)
_NUMBER_WORDS: Mapping[Language, str] = {
    "hr": "dva=2 dvije=2 dvaju=2 dvoje=2 tri=3 triju=3 troje=3 cetiri=4 pet=5 sest=6 sedam=7 osam=8 devet=9 deset=10 "
    "jedanaest=11 dvanaest=12 trinaest=13 cetrnaest=14 petnaest=15 sesnaest=16 sedamnaest=17 osamnaest=18 "
    "devetnaest=19 dvadeset=20 trideset=30 cetrdeset=40 pedeset=50 sezdeset=60 sedamdeset=70 osamdeset=80 "
    "devedeset=90 stotinu=100 tisucu=1000",
    "en": "two=2 three=3 four=4 five=5 six=6 seven=7 eight=8 nine=9 ten=10 eleven=11 twelve=12 thirteen=13 "
    "fourteen=14 fifteen=15 sixteen=16 seventeen=17 eighteen=18 nineteen=19 twenty=20 thirty=30 forty=40 fifty=50 "
    "sixty=60 seventy=70 eighty=80 ninety=90 hundred=100 thousand=1000",
}
_CONNECTORS = frozenset(["do", "to", "od", "i", "ili", "and", "or", "te"])
_LOOK_AROUND = 5
"""Words between a number and what it counts, in "od 8 do 15 (petnaest) radnih dana"."""

_SYMBOLS = str.maketrans({"%": " posto ", "€": " eur ", "$": " usd ", "§": " article "})
_LAW_PARAGRAPH = re.compile(r"(?:(?<=^)|(?<=[\n.;:]))[ \t]*\((\d{1,3}[a-z]?)\)(?=\s)")
_POINT = re.compile(r"(?:(?<=^)|(?<=\n))[ \t]*(\d{1,3})\)(?=\s)")
_COMPOUND = re.compile(r"(?<![\w/.-])(\d{1,6})/(\d{1,6})(?![\w/])")
_IS_NUMBER = re.compile(r"\d[\w.]*")


def _table(forms: Mapping[str, str]) -> dict[str, str]:
    return {form: name for name, listed in forms.items() for form in listed.split()}


_SUFFIX = _table(_SUFFIX_UNITS)
_PARTS = {form: part for language in _NUMBER_WORDS for form, (part, _) in statute_parts(language).items()}
_PREFIX = _PARTS | _table(_PREFIX_UNITS)
_MONTH = {form: number for number, forms in enumerate(_MONTHS, 1) for form in forms.split()}
_WORD_VALUES: Mapping[Language, Mapping[str, int]] = {
    language: {word: int(value) for word, value in (pair.split("=") for pair in listed.split())}
    for language, listed in _NUMBER_WORDS.items()
}


@dataclass(frozen=True, slots=True)
class Date:
    """A date of which a part may be unknown, which is 0."""

    day: int
    month: int
    year: int

    def is_part_of(self, other: Date) -> bool:
        """Whether everything that this date says, the other one says too."""
        pairs = ((self.day, other.day), (self.month, other.month), (self.year, other.year))
        return all(own in (0, theirs) for own, theirs in pairs)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number in one form, and what it counts or numbers: "day", "euro", "article"; empty if nothing that is known.

    `in_words`: written as a word.
    """

    number: str
    unit: str = ""
    in_words: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """All quantities and dates of a text."""

    quantities: tuple[Quantity, ...] = ()
    dates: tuple[Date, ...] = ()
    _units: dict[str, set[str]] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, text: str, language: Language) -> Facts:
        """Takes time that is linear in the text's length."""
        found, dates = _read(_tokens(text, language), language)
        units: dict[str, set[str]] = {}
        for quantity in found:
            units.setdefault(quantity.number, set()).add(quantity.unit)
        for date in dates:
            for part in (date.day, date.year):
                units.setdefault(str(part), set()).add("")
        return cls(tuple(found), tuple(dates), units)

    @property
    def to_check(self) -> tuple[Quantity | Date, ...]:
        """What a source must say too. A number word counts where it has a unit: "three conditions" is only a count."""
        return (*(each for each in self.quantities if each.unit or not each.in_words), *self.dates)

    def hold(self, fact: Quantity | Date) -> bool:
        """Whether the text says this too. Where it has the number without a unit, any unit will do: as in a table."""
        if isinstance(fact, Date):
            return any(fact.is_part_of(date) for date in self.dates)
        units = self._units.get(fact.number)
        return units is not None and (not fact.unit or fact.unit in units or "" in units)


def _tokens(text: str, language: Language) -> list[str]:
    text = unicodedata.normalize("NFKC", text).translate(_SYMBOLS)
    text = _POINT.sub(r" point \1 ", _LAW_PARAGRAPH.sub(r" paragraph \1 ", text))
    # 93/14 and 2016/679 are one number; words() would make two of them.
    return words(_COMPOUND.sub(r" \1x\2 ", text), language)


def _read(tokens: Sequence[str], language: Language) -> tuple[list[Quantity], list[Date]]:
    values = _WORD_VALUES[language]
    found: list[Quantity] = []
    dates: list[Date] = []
    at = 0
    while at < len(tokens):
        if dated := _date(tokens, at):
            date, at = dated
            dates.append(date)
            continue
        token = tokens[at]
        if _IS_NUMBER.fullmatch(token):
            found.append(Quantity(token, _unit(tokens, at, token, values)))
        elif token in values:
            value = values[token]
            following = values.get(tokens[at + 1], 0) if at + 1 < len(tokens) else 0
            if value >= 20 and value % 10 == 0 and value < 100 and 0 < following < 10:
                value, at = value + following, at + 1
            found.append(Quantity(str(value), _unit(tokens, at, str(value), values), in_words=True))
        at += 1
    return found, dates


def _date(tokens: Sequence[str], at: int) -> tuple[Date, int] | None:
    """The date that begins at a token, and the offset after it."""
    first, second, third = (*tokens[at : at + 3], "", "", "")[:3]
    if second in _MONTH and (day := _within(first, 1, 31)):
        year = _year(third)
        return Date(day, _MONTH[second], year), at + (3 if year else 2)
    if first in _MONTH:
        if year := _year(second):
            return Date(0, _MONTH[first], year), at + 2
        if (day := _within(second, 1, 31)) and (year := _year(third)):
            return Date(day, _MONTH[first], year), at + 3
        return None
    day, month, year = _within(first, 1, 31), _within(second, 1, 12), _year(third)
    if day and month and year:
        return Date(day, month, year), at + 3
    if (year := _year(first)) and month and (day := _within(third, 1, 31)):
        return Date(day, month, year), at + 3
    return None


def _within(token: str, least: int, most: int) -> int:
    return int(token) if token.isdecimal() and len(token) <= 2 and least <= int(token) <= most else 0


def _year(token: str) -> int:
    return int(token) if len(token) == 4 and token.isdecimal() and 1500 <= int(token) < 2200 else 0


def _unit(tokens: Sequence[str], at: int, number: str, values: Mapping[str, int]) -> str:
    if at + 1 < len(tokens) and tokens[at + 1] in _SUFFIX and not _year(number):
        return _SUFFIX[tokens[at + 1]]
    for token in reversed(tokens[max(at - _LOOK_AROUND, 0) : at]):
        if token in _PREFIX:
            return _PREFIX[token]
        if not (token in _CONNECTORS or _IS_NUMBER.fullmatch(token)):
            break
    if _year(number):
        return ""  # "2018. godine" is no number of years
    others = 0
    for token in tokens[at + 1 : at + 1 + _LOOK_AROUND]:
        if token in _SUFFIX:
            return _SUFFIX[token]
        if not (token in _CONNECTORS or token in values or _IS_NUMBER.fullmatch(token)):
            others += 1  # one adjective: "15 radnih dana"
        if others > 1 or token in _PREFIX:
            break
    return ""
