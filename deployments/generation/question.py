"""What a question asks for, as the extractive engine sees it: its weighted terms, and the articles that it names."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence, Set

from deployments.generation.references import articles, paragraphs, without_articles
from deployments.lexical import known_language, terms
from deployments.types import Language

_ASKING_WORDS: Mapping[Language, frozenset[str]] = {
    "hr": frozenset(
        re.findall(
            r"\S+",
            """
            dugo često cesto puno daleko velik velika veliko piše pise kaže kaze stoji govori glasi propisuje određuje
            odreduje navodi sadrži sadrzi tekst
            """,
        )
    ),
    "en": frozenset(
        re.findall(r"\S+", "long many much often far old big say says state states read reads provide provides text")
    ),
}
"""Words that belong to the question word: "how long" does not look for text about what is long."""
_ASKING_FOR_ARTICLES: Mapping[Language, frozenset[str]] = {
    "hr": frozenset(
        re.findall(
            r"\S+",
            """
            propisano propisuju određeno odredeno određuju odreduju navedeno navode uređuje ureduje uređeno uredeno
            regulira regulirano odredba odredbe odredbu odredbi odredbom sadržaj sadrzaj sadržaju sadrzaju sadrže sadrze
            objasni objasnite pojasni pojasnite citiraj citirajte navedi navedite daj dajte pokaži pokazi pokažite
            pokazite prikaži prikazi prikažite prikazite ispiši ispisi pročitaj procitaj molim reci recite zanima kažu
            kazu pišu pisu glase znači znaci točno tocno
            """,
        )
    ),
    "en": frozenset(
        re.findall(
            r"\S+",
            "explain show quote cite give tell print display please content contents provision provisions regulate"
            " regulates govern governs mean means exactly written stated",
        )
    ),
}
"""The same in a question that names an article: "explain article 13" does not look for text about explaining."""
_PREFIX = 4
"""Letters of a stem that are compared. Croatian derives words by endings that a stemmer leaves: plaća, plaćanje."""
_MIN_SAMPLE = 8
"""Frequencies are taken among at least so many texts. Among two or three, every word looks common."""


class Question:
    """A question's terms, each as the beginnings of its stems in both languages: a passage is stemmed in its own."""

    def __init__(self, text: str, language: Language) -> None:
        self.text = text = unicodedata.normalize("NFC", text)
        self.articles = articles(text)
        self.paragraphs = paragraphs(text) if self.articles else frozenset[str]()
        if self.articles:
            # It may be in another language than the one that is asked for: what only asks does so in both.
            languages: set[Language] = {language, known_language(text) or language}
            asking = frozenset().union(*_ASKING_WORDS.values(), *_ASKING_FOR_ARTICLES.values())
            self.terms = _question_terms(without_articles(text), language, asking, languages)
        else:
            self.terms = _question_terms(text, language, _ASKING_WORDS[language], {language})

    def held(self, text_terms: frozenset[str]) -> frozenset[int]:
        """The indexes of the question's terms that a text with these terms holds."""
        return frozenset(index for index, stems in enumerate(self.terms) if stems & text_terms)

    def weights(self, held_by_text: Iterable[frozenset[int]]) -> Weights:
        return Weights(len(self.terms), [*held_by_text])


class Weights:
    """Weights of a question's terms: their inverse document frequency among some texts, ln(1 + (N - n + ½) / (n + ½)).

    A term in no text weighs as one in a single text: so few texts cannot tell them apart.
    """

    def __init__(self, terms: int, held_by_text: Sequence[frozenset[int]]) -> None:
        sample = max(len(held_by_text), _MIN_SAMPLE)
        frequencies = [max(sum(index in held for held in held_by_text), 1) for index in range(terms)]
        self._weights = [math.log1p((sample - frequency + 0.5) / (frequency + 0.5)) for frequency in frequencies]
        self._total = sum(self._weights)

    def share(self, held: Iterable[int]) -> float:
        """The share of the question's weight that terms with these indexes have, from 0 to 1."""
        return sum(self._weights[index] for index in held) / self._total if self._total else 0.0


def text_terms(text: str, language: Language) -> frozenset[str]:
    """A text's terms as questions compare them."""
    return frozenset(term[:_PREFIX] for term in terms(text, language))


def _question_terms(
    question: str, language: Language, asking_words: frozenset[str], languages: Set[Language]
) -> list[frozenset[str]]:
    """The question's terms by its words. The function words of all `languages` are left out."""
    other: Language = "en" if language == "hr" else "hr"
    by_term: dict[str, frozenset[str]] = {}
    for word in re.findall(r"\S+", question):
        if word.casefold().strip("?!.,;:") in asking_words:
            continue
        own, foreign = terms(word, language), terms(word, other)
        if not foreign and other in languages:
            continue
        for index, term in enumerate(own):
            stems = {term, foreign[index]} if len(own) == len(foreign) else {term}
            by_term.setdefault(term[:_PREFIX], frozenset(stem[:_PREFIX] for stem in stems))
    return [*by_term.values()]
