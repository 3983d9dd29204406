"""Writes Office's equations on one line."""

from __future__ import annotations

from collections.abc import Callable

from lxml import etree

M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"


def linear(element: etree._Element) -> str:
    """An equation on one line: fractions as (a)/(b), exponents as x^2, roots as √(x)."""
    return "".join(map(_part, element))


def _part(element: etree._Element) -> str:
    name = etree.QName(element).localname if isinstance(element.tag, str) else ""
    if name == "r":
        return "".join(element.itertext("{*}t"))
    write = _WRITERS.get(name)
    if write is not None:
        return write(element)
    return "" if name.endswith("Pr") else linear(element)


def _child(element: etree._Element, name: str) -> str:
    child = element.find(f"{M}{name}")
    return "" if child is None else linear(child)


def _value(element: etree._Element, path: str, default: str) -> str:
    found = element.find("/".join(f"{M}{name}" for name in path.split("/")))
    return default if found is None else found.get(f"{M}val", default)


def _group(text: str) -> str:
    return text if len(text) <= 1 or text.isalnum() else f"({text})"


def _limits(element: etree._Element) -> str:
    lower, upper = _child(element, "sub"), _child(element, "sup")
    return (f"_{_group(lower)}" if lower else "") + (f"^{_group(upper)}" if upper else "")


def _scripts(element: etree._Element) -> str:
    return f"{_child(element, 'e')}{_limits(element)}"


def _scripts_before(element: etree._Element) -> str:
    return f"{_limits(element)} {_child(element, 'e')}"


def _limit_below(element: etree._Element) -> str:
    return f"{_child(element, 'e')}_{_group(_child(element, 'lim'))}"


def _limit_above(element: etree._Element) -> str:
    return f"{_child(element, 'e')}^{_group(_child(element, 'lim'))}"


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
    return begin + _value(element, "dPr/sepChr", "|").join(map(linear, element.findall(f"{M}e"))) + end


def _matrix(element: etree._Element) -> str:
    return "; ".join(", ".join(map(linear, row.findall(f"{M}e"))) for row in element.findall(f"{M}mr"))


def _lines(element: etree._Element) -> str:
    return "; ".join(map(linear, element.findall(f"{M}e")))


def _function(element: etree._Element) -> str:
    return f"{_child(element, 'fName')} {_child(element, 'e')}"


_WRITERS: dict[str, Callable[[etree._Element], str]] = {
    "f": _fraction,
    "rad": _root,
    "sSub": _scripts,
    "sSup": _scripts,
    "sSubSup": _scripts,
    "sPre": _scripts_before,
    "limLow": _limit_below,
    "limUpp": _limit_above,
    "nary": _sum,
    "d": _brackets,
    "m": _matrix,
    "eqArr": _lines,
    "func": _function,
}
