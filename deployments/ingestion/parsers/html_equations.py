"""Makes the MathML of an HTML page plain text on one line."""

from __future__ import annotations

from bs4 import BeautifulSoup
from bs4.element import Tag

_BETWEEN = {
    "mfrac": "/",
    "msup": "^",
    "msub": "_",
    "msubsup": " ",
    "munder": "_",
    "mover": "^",
    "munderover": " ",
    "mroot": " √ ",
    "mtr": ", ",
    "mtable": "; ",
}
"""What stands between the parts of an element."""


def make_linear(root: Tag | BeautifulSoup) -> None:
    """Change the tree's equations in place."""
    inner: set[int] = set()
    for equation in root.find_all("math"):
        if id(equation) in inner:  # read with the one around it
            continue
        inner.update(map(id, equation.find_all("math")))
        for notation in equation.find_all(["annotation", "annotation-xml"]):
            notation.decompose()
        for element in equation.find_all([*_BETWEEN]):
            for part in element.find_all(True, recursive=False)[1:]:
                part.insert_before(_BETWEEN[element.name])
        for root_sign in equation.find_all("msqrt"):
            root_sign.insert(0, "√(")
            root_sign.append(")")
        text = " ".join(equation.get_text().split())
        equation.replace_with(text)
