"""Writes into a Word document's body what Word shows there and its library leaves out, and takes out what is hidden.

The library leaves out the labels of automatic numbering ("Članak 2.", "a)"), equations, ruby text, the choices of old
forms, and what stands inside some elements.
"""

from __future__ import annotations

from lxml import etree

from deployments.ingestion.parsers.docx_numbering import Numbering, W
from deployments.ingestion.parsers.equations import M, linear

_SPACE = "{http://www.w3.org/XML/1998/namespace}space"
_OPENED = (f"{W}fldSimple", f"{W}bdo", f"{W}dir", f"{M}oMathPara")
"""Elements that the library leaves out with all that they hold."""
_RENAMED = {f"{W}cr": f"{W}br", f"{W}ptab": f"{W}tab"}
_FALSE = ("0", "false", "off")
_MOST_COLUMNS = 63
"""Columns of a table in Word."""


def rewrite(body: etree._Element, numbering: Numbering) -> int:
    """Change the tree of one of a document's parts in place. The number of hidden words that are taken out."""
    hidden = 0
    for run in [*body.iter(f"{W}r")]:
        if _is_hidden(run):
            hidden += len(_text(run).split())
            _unwrap(run, None)
    for choice in [*body.iter(f"{W}ddList")]:
        _write_choice(choice)
    for element in [*body.iter(*_OPENED)]:
        if element.tag == f"{M}oMathPara":  # its equations stand on lines of their own
            for equation in [*element]:
                equation.addprevious(_run(" "))
                equation.addnext(_run(" "))
        _unwrap(element, element)
    for row in body.iter(f"{W}tr"):
        _fill_before(row)
    for element in body.iter(*_RENAMED):
        element.tag = _RENAMED[element.tag]
    for paragraph in body.iter(f"{W}p"):
        label = numbering.label(paragraph)
        if label:
            properties = paragraph.find(f"{W}pPr")
            _drop_numbering(paragraph)
            paragraph.insert(0 if properties is None else 1, _run(f"{label} "))
        else:
            numbering.move_bullet(paragraph)
    for equation in [*body.iter(f"{M}oMath")]:
        _replace(equation, _run(linear(equation)))
    for ruby in [*body.iter(f"{W}ruby")]:
        base, reading = (_text(ruby.find(f"{W}{name}")) for name in ("rubyBase", "rt"))
        _replace(ruby, _shown(f"{base}({reading})" if reading else base))
    return hidden


def _fill_before(row: etree._Element) -> None:
    """Give a row that begins at a later column a cell for each column before."""
    skipped = row.find(f"{W}trPr/{W}gridBefore")
    number = "" if skipped is None else skipped.get(f"{W}val", "")
    first = row.find(f"{W}tc")
    if first is None or not (number.isascii() and number.isdecimal()):
        return
    for _ in range(min(int(number[:3]), _MOST_COLUMNS)):
        cell = etree.Element(f"{W}tc")
        etree.SubElement(cell, f"{W}p")
        first.addprevious(cell)


def _is_hidden(run: etree._Element) -> bool:
    mark = run.find(f"{W}rPr/{W}vanish")
    return mark is not None and mark.get(f"{W}val") not in _FALSE


def _write_choice(choices: etree._Element) -> None:
    """Write which entry of an old form's list is chosen, as a run behind the beginning of its field."""
    entries = [entry.get(f"{W}val", "") for entry in choices.iterfind(f"{W}listEntry")]
    named = (choices.find(f"{W}{name}") for name in ("result", "default"))
    chosen = next((each.get(f"{W}val", "0") for each in named if each is not None), "0")
    run = next(choices.iterancestors(f"{W}r"), None)
    if run is None or not chosen.isdecimal() or int(chosen) >= len(entries):
        return
    for following in run.itersiblings(f"{W}r"):
        if following.find(f"{W}t") is not None:
            return  # the field's last result
        mark = following.find(f"{W}fldChar")
        if mark is not None and mark.get(f"{W}fldCharType") == "end":
            break
    run.addprevious(_run(entries[int(chosen)]))


def _text(element: etree._Element | None) -> str:
    return "" if element is None else "".join(element.itertext(f"{W}t"))


def _drop_numbering(paragraph: etree._Element) -> None:
    """Take a paragraph out of its list, and out of that of its style, as Word writes it: list 0 is none."""
    properties = paragraph.find(f"{W}pPr")
    if properties is None:
        properties = etree.Element(f"{W}pPr")
        paragraph.insert(0, properties)
    for numbering in properties.findall(f"{W}numPr"):
        properties.remove(numbering)
    none = etree.SubElement(properties, f"{W}numPr")
    for name in ("ilvl", "numId"):
        etree.SubElement(none, f"{W}{name}", {f"{W}val": "0"})


def _run(text: str) -> etree._Element:
    run = etree.Element(f"{W}r")
    run.append(_shown(text))
    return run


def _shown(text: str) -> etree._Element:
    element = etree.Element(f"{W}t")
    element.set(_SPACE, "preserve")
    element.text = text
    return element


def _replace(element: etree._Element, replacement: etree._Element) -> None:
    parent = element.getparent()
    if parent is not None:
        parent[parent.index(element)] = replacement


def _unwrap(element: etree._Element, holder: etree._Element | None) -> None:
    """Put what `holder` holds in the place of an element; None for nothing."""
    parent = element.getparent()
    if parent is not None:
        index = parent.index(element)
        parent[index : index + 1] = [] if holder is None else [*holder]
