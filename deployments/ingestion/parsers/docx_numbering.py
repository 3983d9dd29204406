"""Counts Word's automatic numbering, and writes the labels that it shows before paragraphs."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass

from lxml import etree

from deployments.ingestion.parsers.numerals import letters, roman

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_PLACE = re.compile(r"%([1-9])")
_LEVELS = 9
_BULLETS = "2000000001"
"""The number of a list that no document has."""
_PARENTS = 20
"""Styles that one style may be based on, one on the other."""


@dataclass(frozen=True, slots=True)
class _Level:
    """A level of a list. `text` has %1 to %9 where the numbers of levels go. `restart` is the level, from 1, after
    which it counts anew; 0 for never."""

    number_format: str = "decimal"
    text: str = ""
    start: int = 1
    restart: int | None = None
    is_legal: bool = False


@dataclass(frozen=True, slots=True)
class _Style:
    based_on: str
    list_id: str | None
    level: int | None


class Numbering:
    """A document's lists. Paragraphs are to be asked for their labels in reading order."""

    def __init__(self, numbering: etree._Element | None, styles: etree._Element | None) -> None:
        self._abstract: dict[str, dict[int, _Level]] = {}
        self._lists: dict[str, tuple[str, dict[int, _Level]]] = {}
        self._styles = {} if styles is None else _styles(styles)
        self._default_style = "" if styles is None else _default_style(styles)
        self._level_of_style: dict[tuple[str, str], int] = {}
        self._counts: defaultdict[str, dict[int, int]] = defaultdict(dict)
        self._started: set[tuple[str, int]] = set()
        self._restarts: dict[tuple[str, int], int] = {}
        if numbering is not None:
            self._read(numbering)

    def label(self, paragraph: etree._Element) -> str:
        """The label in front of the paragraph, such as "Članak 2."; empty for none, and for bullets."""
        list_id, level = self._place(paragraph)
        if list_id not in self._lists:
            return ""
        abstract_id, levels = self._lists[list_id]
        definition = levels.get(level)
        if definition is None:
            return ""
        counts = self._counts[abstract_id]
        override = (list_id, level)
        if override in self._restarts and override not in self._started:
            counts[level] = self._restarts[override]
        else:
            counts[level] = counts.get(level, definition.start - 1) + 1
        self._started.add(override)
        for deeper in [deeper for deeper in counts if deeper > level]:
            restart = levels[deeper].restart if deeper in levels else None
            if restart is None or (restart and level < restart):
                del counts[deeper]
        if definition.number_format in ("bullet", "none") and not _PLACE.search(definition.text):
            return definition.text.strip() if definition.number_format == "none" else ""
        return _PLACE.sub(lambda place: self._number(levels, counts, int(place[1]) - 1, definition), definition.text)

    def move_bullet(self, paragraph: etree._Element) -> None:
        """Put a bullet into a list of bullets only: once labels are text, a list has no levels with numbers."""
        own = paragraph.find(f"{W}pPr/{W}numPr")
        list_id, level = self._place(paragraph)
        if own is None or list_id not in self._lists:
            return
        levels = self._lists[list_id][1]
        bullets = sum(levels[outer].number_format == "bullet" for outer in range(level) if outer in levels)
        own[:] = [_with_value("ilvl", str(bullets)), _with_value("numId", _BULLETS)]

    def _number(self, levels: dict[int, _Level], counts: dict[int, int], level: int, of: _Level) -> str:
        shown = levels.get(level, _Level())
        number_format = "decimal" if of.is_legal else shown.number_format
        return _written(counts.get(level, shown.start), number_format)

    def _place(self, paragraph: etree._Element) -> tuple[str, int]:
        """(list, level) of a paragraph; an empty list if it is in none."""
        own_list, own_level = _numbering_of(paragraph.find(f"{W}pPr"))
        style = paragraph.find(f"{W}pPr/{W}pStyle")
        style_id = self._default_style if style is None else style.get(f"{W}val", "")
        list_id, level = own_list, own_level
        named = style_id
        for _ in range(_PARENTS):
            found = self._styles.get(named)
            if found is None:
                break
            list_id = found.list_id if list_id is None else list_id
            level = found.level if level is None else level
            named = found.based_on
        if list_id in (None, "0"):
            return "", 0
        if level is None or own_list is None:
            level = self._level_of_style.get((list_id, style_id), level)
        return list_id, level or 0

    def _read(self, numbering: etree._Element) -> None:
        styles_of: dict[str, dict[str, int]] = {}
        for abstract in numbering.iterfind(f"{W}abstractNum"):
            abstract_id = abstract.get(f"{W}abstractNumId", "")
            self._abstract[abstract_id] = _levels(abstract)
            styles_of[abstract_id] = {
                style.get(f"{W}val", ""): int(level.get(f"{W}ilvl", "0"))
                for level in abstract.iterfind(f"{W}lvl")
                if (style := level.find(f"{W}pStyle")) is not None
            }
        for instance in numbering.iterfind(f"{W}num"):
            list_id, abstract_id = instance.get(f"{W}numId", ""), _value(instance, "abstractNumId", "")
            levels = dict(self._abstract.get(abstract_id, {}))
            for override in instance.iterfind(f"{W}lvlOverride"):
                level = int(override.get(f"{W}ilvl", "0"))
                levels |= _levels(override)
                if start := _value(override, "startOverride", ""):
                    self._restarts[(list_id, level)] = int(start)
            self._lists[list_id] = (abstract_id, levels)
            for style, level in styles_of.get(abstract_id, {}).items():
                self._level_of_style[(list_id, style)] = level


def add_bullets(numbering: etree._Element) -> None:
    """Add the list into which bullets are moved."""
    abstract = etree.SubElement(numbering, f"{W}abstractNum", {f"{W}abstractNumId": _BULLETS})
    for level in range(_LEVELS):
        definition = etree.SubElement(abstract, f"{W}lvl", {f"{W}ilvl": str(level)})
        definition.append(_with_value("numFmt", "bullet"))
    instance = etree.SubElement(numbering, f"{W}num", {f"{W}numId": _BULLETS})
    instance.append(_with_value("abstractNumId", _BULLETS))


def _with_value(name: str, value: str) -> etree._Element:
    return etree.Element(f"{W}{name}", {f"{W}val": value})


def _levels(parent: etree._Element) -> dict[int, _Level]:
    levels: dict[int, _Level] = {}
    for level in parent.iterfind(f"{W}lvl"):
        restart = _value(level, "lvlRestart", "")
        levels[int(level.get(f"{W}ilvl", "0"))] = _Level(
            number_format=_value(level, "numFmt", "decimal"),
            text=_value(level, "lvlText", ""),
            start=int(_value(level, "start", "0")),
            restart=int(restart) if restart else None,
            is_legal=level.find(f"{W}isLgl") is not None,
        )
    return levels


def _styles(styles: etree._Element) -> dict[str, _Style]:
    found: dict[str, _Style] = {}
    for style in styles.iterfind(f"{W}style"):
        if style.get(f"{W}type", "paragraph") == "paragraph":
            list_id, level = _numbering_of(style.find(f"{W}pPr"))
            found[style.get(f"{W}styleId", "")] = _Style(_value(style, "basedOn", ""), list_id, level)
    return found


def _default_style(styles: etree._Element) -> str:
    for style in styles.iterfind(f"{W}style"):
        if style.get(f"{W}type") == "paragraph" and style.get(f"{W}default") in ("1", "true", "on"):
            return str(style.get(f"{W}styleId", ""))
    return ""


def _numbering_of(properties: etree._Element | None) -> tuple[str | None, int | None]:
    """(list, level) that a paragraph's or style's properties name; None for what they do not."""
    numbering = None if properties is None else properties.find(f"{W}numPr")
    if numbering is None:
        return None, None
    list_id, level = _value(numbering, "numId", ""), _value(numbering, "ilvl", "")
    return list_id or None, int(level) if level else None


def _value(parent: etree._Element, name: str, default: str) -> str:
    child = parent.find(f"{W}{name}")
    return default if child is None else str(child.get(f"{W}val", default))


def _written(number: int, number_format: str) -> str:
    match number_format:
        case "lowerLetter":
            return letters(number)
        case "upperLetter":
            return letters(number).upper()
        case "lowerRoman":
            return roman(number)
        case "upperRoman":
            return roman(number).upper()
        case "decimalZero":
            return f"{number:02d}"
        case "none":
            return ""
        case "ordinal":
            return f"{number}."
        case _:
            return str(number)
