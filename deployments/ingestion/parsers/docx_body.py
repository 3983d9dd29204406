"""Writes into a Word document's body what Word shows there and its library leaves out.

Those are the labels of automatic numbering ("Članak 2.", "a)"), equations, and ruby text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lxml import etree

from deployments.ingestion.parsers.docx_numbering import Numbering, W

_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_SPACE = "{http://www.w3.org/XML/1998/namespace}space"


def rewrite(body: etree._Element, numbering: Numbering) -> None:
    """Change the tree of a document's main part in place."""
    for paragraph in body.iter(f"{W}p"):
        label = numbering.label(paragraph)
        if label:
            properties = paragraph.find(f"{W}pPr")
            _drop_numbering(paragraph)
            paragraph.insert(0 if properties is None else 1, _run(f"{label} "))
        else:
            numbering.move_bullet(paragraph)
    for equation in [*body.iter(f"{_M}oMath")]:
        _replace(equation, _run(linear(equation)))
    for ruby in [*body.iter(f"{W}ruby")]:
        base, reading = (_text(ruby.find(f"{W}{name}")) for name in ("rubyBase", "rt"))
        _replace(ruby, _shown(f"{base}({reading})" if reading else base))


def _text(element: etree._Element | None) -> str:
    return "" if element is None else "".join(element.itertext(f"{W}t"))


def linear(element: etree._Element) -> str:
    """An equation on one line: fractions as (a)/(b), exponents as x^2, roots as √(x)."""
    return "".join(map(_part, element))


def _part(element: etree._Element) -> str:
    name = etree.QName(element).localname if isinstance(element.tag, str) else ""
    if name == "r":
        return "".join(element.itertext(f"{_M}t", f"{W}t"))
    write = _WRITERS.get(name)
    if write is not None:
        return write(element)
    return "" if name.endswith("Pr") else linear(element)


def _child(element: etree._Element, name: str) -> str:
    child = element.find(f"{_M}{name}")
    return "" if child is None else linear(child)


def _value(element: etree._Element, path: str, default: str) -> str:
    found = element.find("/".join(f"{_M}{name}" for name in path.split("/")))
    return default if found is None else found.get(f"{_M}val", default)


def _group(text: str) -> str:
    return text if len(text) <= 1 or text.isalnum() else f"({text})"


def _limits(element: etree._Element) -> str:
    lower, upper = _child(element, "sub"), _child(element, "sup")
    return (f"_{_group(lower)}" if lower else "") + (f"^{_group(upper)}" if upper else "")


def _scripts(element: etree._Element) -> str:
    return f"{_child(element, 'e')}{_limits(element)}"


def _fraction(element: etree._Element) -> str:
    return f"{_group(_child(element, 'num'))}/{_group(_child(element, 'den'))}"


def _root(element: etree._Element) -> str:
    degree = _child(element, "deg")
    return f"{degree}√({_child(element, 'e')})"


def _sum(element: etree._Element) -> str:
    sign = _value(element, "naryPr/chr", "∫")
    return f"{sign}{_limits(element)} {_child(element, 'e')}"


def _brackets(element: etree._Element) -> str:
    begin, end = _value(element, "dPr/begChr", "("), _value(element, "dPr/endChr", ")")
    return begin + _value(element, "dPr/sepChr", "|").join(map(linear, element.findall(f"{_M}e"))) + end


def _matrix(element: etree._Element) -> str:
    return "; ".join(", ".join(map(linear, row.findall(f"{_M}e"))) for row in element.findall(f"{_M}mr"))


def _function(element: etree._Element) -> str:
    return f"{_child(element, 'fName')} {_child(element, 'e')}"


_WRITERS: dict[str, Callable[[etree._Element], str]] = {
    "f": _fraction,
    "rad": _root,
    "sSub": _scripts,
    "sSup": _scripts,
    "sSubSup": _scripts,
    "nary": _sum,
    "d": _brackets,
    "m": _matrix,
    "func": _function,
}


def _drop_numbering(paragraph: etree._Element) -> None:
    """Take a paragraph out of its list, as Word writes it: list 0 is none."""
    properties = paragraph.find(f"{W}pPr")
    if properties is None:
        properties = etree.Element(f"{W}pPr")
        paragraph.insert(0, properties)
    for numbering in properties.findall(f"{W}numPr"):
        properties.remove(numbering)
    none = etree.SubElement(etree.SubElement(properties, f"{W}numPr"), f"{W}numId")
    none.set(f"{W}val", "0")


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


def margin_texts(part: etree._Element) -> Iterator[str]:
    """The paragraphs of a page header or footer, without page numbers."""
    for paragraph in part.iter(f"{W}p"):
        in_field, has_field, texts = 0, False, list[str]()
        for element in paragraph.iter(f"{W}t", f"{W}tab", f"{W}br", f"{W}fldChar", f"{W}fldSimple"):
            name = etree.QName(element).localname
            if name == "fldChar":
                in_field += {"begin": 1, "end": -1}.get(element.get(f"{W}fldCharType", ""), 0)
            has_field = has_field or name.startswith("fld")
            if name in ("tab", "br"):
                texts.append(" ")
            elif name == "t" and not in_field and next(element.iterancestors(f"{W}fldSimple"), None) is None:
                texts.append(element.text or "")
        text = " ".join("".join(texts).split())
        # "Stranica 3 od 7" without its fields says nothing.
        if any(map(str.isalnum, text)) and not (has_field and len(text.split()) <= 3):
            yield text
