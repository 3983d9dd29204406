"""References to parts of a statute or contract: "članak 13. stavak 2.", "čl. 13. st. 2.", "Article 13"."""

from __future__ import annotations

import re

_BEFORE_NUMBER = re.compile(
    r"(?:član(?:ak|ka|ku|kom|ci|cima|aka)|stav(?:ak|ka|ku|kom|ci|cima|aka)|točk[aeiou]\w*|alinej\w*|poglavlj\w*|odjelj\w*"
    r"|glav[aeiou]|prilog\w*|broj\w*|čl|st|toč|br|articles?|sections?|clauses?|paragraphs?|points?|i|ili|do|od|and|or|to|-|–)[.,]?$",
    re.IGNORECASE,
)
_LOOK_BACK = 24
"""Characters that the longest of these words has, and more."""
_NAMED = r"\s*(?:(?:broj|br\.?|number|no\.?)\s*)?"
_ARTICLE_WORD = rf"(?:[čc]lan(?:ak|ka|ku|kom)|[čc]l\.?|article|art\.?|section|sec\.?|clause|§){_NAMED}"
_ARTICLES_WORD = rf"(?:[čc]lan(?:ci|ke|aka|cima)|articles|sections|clauses|§§){_NAMED}"
_NUMBER = r"\d{1,4}(?:[.-]?[a-zčćđšž](?!\w))?"
_AND = r"\.?\s*(?:,|(?<=[\s\d])(?:i|ili|te|and|or)(?=\s))\s*"
_ARTICLE = re.compile(
    rf"(?<!\w)(?:{_ARTICLES_WORD}{_NUMBER}(?:{_AND}{_NUMBER})*"
    # After the word for one article, a further number is another's only where nothing follows that it could count.
    rf"|{_ARTICLE_WORD}{_NUMBER}(?:{_AND}{_NUMBER}(?=[.,?!)]|\s*$|{_AND}\d))*)",
    re.IGNORECASE,
)
_EACH_NUMBER = re.compile(_NUMBER, re.IGNORECASE)
_PARAGRAPH = re.compile(
    r"(?<!\w)(?:sta(?:vak|vka|vku|vkom|v)|st\.?|paragraph|para\.?)\s*\(?(?P<number>\d{1,3}[a-z]?)\)?(?!\w)",
    re.IGNORECASE,
)
_ORDINAL_ARTICLE = re.compile(r"(?<!\w)(?P<number>\d{1,4}[a-zčćđšž]?)\.\s*[čc]lan(?:ak|ka|ku|kom)(?!\w)", re.IGNORECASE)
_OTHER_PARAGRAPHS = re.compile(
    r"(?<!\w)stav(?:ak|ka|ku|kom|ci|cima|aka)\s+(?P<numbers>\d{1,3}\.(?:(?:,| i| ili| do)? \d{1,3}\.)*)"
    r"\s+ov(?:og|oga)\s+član",
    re.IGNORECASE,
)


def ends_in_reference(text: str) -> bool:
    """Whether a number that follows the text belongs to a reference or a range: "iz stavka", "čl.", "3. i"."""
    words = text[-_LOOK_BACK:].split()
    return bool(words) and _BEFORE_NUMBER.match(words[-1]) is not None


def articles(text: str) -> frozenset[str]:
    """The numbers of the articles that a text names, however it writes them: "13", "14a"."""
    listed = [number for match in _ARTICLE.finditer(text) for number in _EACH_NUMBER.findall(match[0])]
    found = [*listed, *(match["number"] for match in _ORDINAL_ARTICLE.finditer(text))]
    return frozenset(number.lower().replace(".", "").replace("-", "") for number in found)


def without_articles(text: str) -> str:
    """The text without the articles and paragraphs that it names."""
    for pattern in (_ORDINAL_ARTICLE, _ARTICLE, _PARAGRAPH):
        text = pattern.sub(" ", text)
    return text


def paragraphs(text: str) -> frozenset[str]:
    """The numbers of the paragraphs that a text names."""
    return frozenset(match["number"].lower() for match in _PARAGRAPH.finditer(text))


def is_article_heading(heading: str) -> bool:
    """Whether a heading begins with an article's number, as "Članak 13." and "Article 13 – Deadlines" do."""
    return _ARTICLE.match(heading.strip()) is not None


def paragraphs_needed(sentence: str) -> frozenset[str]:
    """The paragraphs of the same article that a sentence refers to: "iz stavka 1. ovoga članka"."""
    needed = (match["numbers"] for match in _OTHER_PARAGRAPHS.finditer(sentence))
    return frozenset(number for numbers in needed for number in re.findall(r"\d+", numbers))
