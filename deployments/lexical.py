"""The lexical half of retrieval: text → terms → sparse vectors whose inner product is BM25.

A passage's vector holds BM25's term saturation, a question's vector the terms' inverse document frequency, so that

    score = Σ idf(t) · tf · (k1 + 1) / (tf + k1 · (1 - b + b · length / reference))

(Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009, eq. 3.15). Two things differ. The average length
is a constant, so a passage's vector depends on the passage alone. The caller passes the document frequencies, so they
can be those of one asker's scope.
"""

from __future__ import annotations

import hashlib
import math
import re
import threading
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import chain, pairwise

import Stemmer

from deployments.types import Language, SparseVector

K1 = 1.2
"""Saturation: how soon more occurrences of a term stop adding to the score."""
B = 0.4
"""How strongly the score of a passage longer than the reference is lowered."""
REFERENCE_LENGTH = 80
"""Words of a typical passage, stop words not counted. A full chunk has up to twice as many; 160 finds no more."""

PREFIX_LETTERS = 4
"""How many first letters of a longer Croatian word are a term of their own. They join what the stemmer keeps apart. In
English they would find less (docs/benchmarks/quality.md)."""
SECTION_SHARE = 0.7
"""What the whole section counts for in the vector of one of its passages."""

NO_TERMS = 1
"""An id that no term has, for stores that refuse an empty sparse vector."""

_ALGORITHMS: Mapping[Language, str] = {"hr": "serbian", "en": "english"}

FUNCTION_WORDS: Mapping[Language, str] = {
    "hr": """
a ako al ali baš bez bi bih bijah bijahu bijaše bila bile bili bilo bio bismo biste biti bješe budu bude budem budemo
budete budeš čak čega čemu će ćemo ćeš ćete ću čija čije čiji čijih čijim čijoj čim čime da dakle dok do duž evo ga
gdje god hoće hoćemo hoćeš hoću i iako ih ikad ili im ima imaju imam imamo imate imaš ipak isti ista isto iz iza
između ja je jedan jedna jedne jednog jednom jedno jer jesam jesi jesmo jest jeste jesu joj još ju k ka kada kad kako
kakav kakva kakve kakvo kakvi kamo kao kod koga koja koje kojeg kojega kojem kojemu koji kojih kojim kojima kojoj
kojom koju koliko kome komu kolika kolike koliki kroz kuda li me mene meni mi mimo mnom mogao mogu moguće moj moja
moje moji mora moraju moram moramo morate može možemo možete možeš mu mnogo na nad nadalje nakon nam nama naš naša
naše našeg naši ne nego neka neke neki nekog neku neko nema netko nešto ni nije nikad nikoga nisam nisi nismo niste
nisu niti ništa nju njega njegov njegova njegovo njem njemu njen njena njeno njezin njezina njih njihov njihova
njihovo njim njima njoj njom no o od odnosno on ona onaj one oni ono onom onoj onih onim onda ondje opet oko osim ova
ovaj ovako ove ovi ovih ovim ovime ovo ovog ovoga ovoj ovom ovome ovu ovdje pa pak po pod pored poslije prema pred
prije pri radi s sa sam samo sav sva sve svega svemu svi svih svim svima svog svoga svoj svoja svoje svojem svoju svom
se sebe sebi si smije smiju smijem smo ste stoga su ta tada taj tako također te tebe tebi ti tih tijekom time tim tko
to toga toj tom tome tomu tu tvoj tvoja tvoje u umjesto unatoč uz vaš vaša vaše vašeg vaši već vi vam vama vas vrlo za
zar zašto zato zbog što šta
""",
    "en": """
a about above after again against all also am an and any are aren't as at be because been before being below between
both but by can can't cannot could couldn't did didn't do does doesn't doing don't down during each either few for
from further had hadn't has hasn't have haven't having he her here hers herself him himself his how however i if in
into is isn't it it's its itself just let's may me might more most must mustn't my myself neither no nor not of off on
once only or other ought our ours ourselves out over own per please same shall shan't she should shouldn't since so
some such than that that's the their theirs them themselves then there there's therefore these they this those through
thus to too under until unto up upon us very was wasn't we were weren't what what's when where which while who who's
whom whose why will with within without won't would wouldn't yet you your yours yourself yourselves
""",
}

_STATUTE_PARTS: Mapping[Language, Mapping[str, str]] = {
    "hr": {
        "article": "članak čl članka članku člankom članci članke članaka člancima",
        "paragraph": "stavak st stavka stavku stavkom stavci stavke stavaka stavcima",
        "point": "točka t toč točke točki točku točkom točaka točkama",
    },
    "en": {"article": "article art articles", "paragraph": "paragraph para paragraphs", "point": "point points"},
}
"""What the parts of a statute are called before their number: the usual word, then its other forms."""
_PART_NUMBER = re.compile(r"\d{1,4}[a-zčćđšž]?")
_PART_LETTER = re.compile("[a-zčćđšž]|dž|lj|nj")
"""Only points have letters for numbers."""

_NUMBER_GROUPED = r"\d{1,3}(?:[.,]\d{3})+(?:[.,]\d{1,2})?(?![.,]?\d)"
_NUMBER_DECIMAL = r"\d+[.,]\d+(?![.,]?\d)"
_TOKEN = re.compile(
    rf"(?<![^\W_])(?<!\d[.,])(?P<grouped>{_NUMBER_GROUPED})(?![^\W_])"
    rf"|(?<![^\W_])(?<!\d[.,])(?P<decimal>{_NUMBER_DECIMAL})(?![^\W_])"
    r"|(?P<word>[^\W_]+(?:'[^\W_]+)*)"
)
_INVISIBLE = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff]")
"""Soft hyphens and zero-width characters, which PDFs leave inside words."""
_CROATIAN_LETTERS = re.compile("[čćšžđ]")


def terms(text: str, language: Language) -> list[str]:
    """The terms of a text in reading order, repeated as often as they occur: stemmed, without stop words or accents."""
    content, _ = _read(text, language)
    return [_term(token, language) for token in content]


def words(text: str, language: Language) -> list[str]:
    """The words and numbers of a text in reading order, case-folded and without accents; stop words are among them."""
    return [_fold(token, language) for token in _tokens(text)]


def term_id(term: str) -> int:
    """A term's place in the sparse vectors, the same in every process and release.

    From 2 to 2³² - 2: Milvus takes nothing beyond it, and NO_TERMS is kept free. A collision only makes two words
    count as one; among 100,000 terms about one is expected.
    """
    return int.from_bytes(hashlib.blake2b(term.encode(), digest_size=8).digest(), "big") % (2**32 - 3) + 2


def encode_passage(text: str, language: Language) -> dict[int, float]:
    """A passage's sparse vector: term id → saturated term frequency, above 0 and below k1 + 1.

    Beside the words' terms it has their prefixes and the text's references to parts of statutes.
    """
    content, references = _read(text, language)
    length_factor = K1 * (1 - B + B * len(content) / REFERENCE_LENGTH)
    found = [*(_term(token, language) for token in content), *_prefixes(content, language), *references]
    counts = Counter(map(term_id, found))
    return {term: count * (K1 + 1) / (count + length_factor) for term, count in counts.items()}


def blend(passage: SparseVector, section: SparseVector) -> dict[int, float]:
    """The vector of a passage that is one of several of its section. It has the terms of both.

    So a question that meets an article in several of its paragraphs finds each of them.
    """
    blended = {term: SECTION_SHARE * weight for term, weight in section.items()}
    for term, weight in passage.items():
        blended[term] = blended.get(term, 0.0) + (1 - SECTION_SHARE) * weight
    return blended


def query_term_ids(text: str, language: Language) -> tuple[int, ...]:
    """The ids of a question's terms in reading order, without repeats.

    Each word gives its stems in both languages, and a part of a statute counts by its names in both. A passage is
    analysed in its own language, and a Croatian question may match an English passage by a name or a technical word.
    """
    content, references = _read(text, language, *_ALGORITHMS)
    stems = (_term(token, stemming) for token in content for stemming in _ALGORITHMS)
    return tuple(dict.fromkeys(map(term_id, (*stems, *_prefixes(content, language), *references))))


def encode_query(ids: Sequence[int], document_frequency: Mapping[int, int], passages: int) -> dict[int, float]:
    """A question's sparse vector: term id → inverse document frequency, always above 0.

    `passages` is the number of passages that the asker may see, `document_frequency` how many of them hold a term.
    Terms in none of them are left out, so the vector may be empty. The weight is ln(1 + (N - n + ½) / (n + ½)). Unlike
    the classic form it is positive even for a term in more than half of the passages.
    """
    found = ((term, document_frequency.get(term, 0)) for term in ids)
    return {
        term: math.log1p((max(passages - frequency, 0) + 0.5) / (frequency + 0.5))
        for term, frequency in found
        if frequency > 0
    }


def detect_language(text: str, default: Language = "hr") -> Language:
    """The language of most of a text's function words; words with Croatian letters count too. `default` on a tie."""
    return known_language(text) or default


def known_language(text: str) -> Language | None:
    """The same, and None on a tie: a text of keywords often has no function word at all."""
    hits: Counter[Language] = Counter()
    for token in _tokens(text):
        in_croatian, in_english = _is_stop_word(token, "hr"), _is_stop_word(token, "en")
        hits["hr"] += (in_croatian and not in_english) or _CROATIAN_LETTERS.search(token) is not None
        hits["en"] += in_english and not in_croatian
    if hits["hr"] == hits["en"]:
        return None
    return "hr" if hits["hr"] > hits["en"] else "en"


def _read(text: str, language: Language, *named_in: Language) -> tuple[list[str], list[str]]:
    """The words and numbers of a text without stop words, and its references to parts of statutes.

    A reference is one term in both languages, `article 12`, beside its words: "čl. 12.", "članka 12" and "article 12"
    all give it. An abbreviation counts as the word that it stands for. `named_in`: whose names of parts count, if not
    those of `language` alone.
    """
    tokens = list(_tokens(text))
    references: list[str] = []
    parts = dict(chain.from_iterable(statute_parts(each).items() for each in named_in or (language,)))
    for at, (word, number) in enumerate(pairwise(tuple(tokens))):
        if found := parts.get(_fold(word, language)):
            part, name = found
            if _PART_NUMBER.fullmatch(number) or (part == "point" and _PART_LETTER.fullmatch(number)):
                references.append(f"{part} {number}")
                tokens[at] = name
    return [token for token in tokens if not _is_stop_word(token, language)], references


def _prefixes(tokens: Sequence[str], language: Language) -> Iterator[str]:
    """The first letters of each longer Croatian word, marked, so that they are no other word's stem."""
    for token in tokens if language == "hr" else ():
        folded = _fold(token, language)
        if len(folded) > PREFIX_LETTERS and folded.isalpha():
            yield f"{folded[:PREFIX_LETTERS]}*"


def _tokens(text: str) -> Iterator[str]:
    """The words and numbers of a text, case-folded and in Unicode NFKC.

    A number is one token, however it is written: 500.000,00, 500,000.00 and 500000 are all "500000", and 1,5 is "1.5".
    Dates and references (25.5.2018., 2016/679) are split into their parts, without leading zeros.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).casefold())
    for match in _TOKEN.finditer(folded.replace("’", "'")):
        token = match[0]
        if match["word"] is not None:
            yield token.lstrip("0") or "0" if token.isdecimal() else token
        elif match["grouped"] is not None:
            yield _canonical_number(token)
        else:
            yield _canonical_decimal(*re.split("[.,]", token))


def _canonical_number(token: str) -> str:
    """A number with thousands separators. A last group of one or two digits is its fraction."""
    *groups, last = re.split("[.,]", token)
    if len(last) == 3:
        return _canonical_decimal("".join(groups) + last, "")
    return _canonical_decimal("".join(groups), last)


def _canonical_decimal(integer: str, fraction: str) -> str:
    integer, fraction = integer.lstrip("0") or "0", fraction.rstrip("0")
    return f"{integer}.{fraction}" if fraction else integer


def _term(token: str, language: Language) -> str:
    """A token's stem, without accents.

    Accents are removed before stemming, because the stemmer cuts "-ača" and "-aca" differently: a word typed without
    accents must match the same word with them. They are removed again after it, because it writes Cyrillic as accented
    Latin.
    """
    return _fold(_stemmer(language).stemWord(_fold(token, language)), language)


def _fold(text: str, language: Language) -> str:
    """The text without accents. In Croatian dj becomes d too: it is how đ is typed on a keyboard that lacks it."""
    plain = "".join(
        character for character in unicodedata.normalize("NFKD", text) if not unicodedata.combining(character)
    )
    plain = plain.replace("đ", "d")
    return plain.replace("dj", "d") if language == "hr" else plain


@cache
def _stop_words(language: Language) -> frozenset[str]:
    """The language's function words, without accents."""
    return frozenset(_fold(word, language) for word in FUNCTION_WORDS[language].split())


@cache
def statute_parts(language: Language) -> Mapping[str, tuple[str, str]]:
    """What a part of a statute may be called, without accents → the part, and its usual name."""
    return {
        _fold(form, language): (part, forms.split()[0])
        for part, forms in _STATUTE_PARTS[language].items()
        for form in forms.split()
    }


def _is_stop_word(token: str, language: Language) -> bool:
    return _fold(token, language) in _stop_words(language)


_stemmers = threading.local()


def _stemmer(language: Language) -> Stemmer.Stemmer:
    """The calling thread's stemmer. It has a cache, which threads must not share."""
    if not hasattr(_stemmers, language):
        setattr(_stemmers, language, Stemmer.Stemmer(_ALGORITHMS[language]))
    return getattr(_stemmers, language)
