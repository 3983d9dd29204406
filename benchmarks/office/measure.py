"""Compares the text of office documents with what a person sees in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benchmarks.office.seen import Document
from benchmarks.pdfs.truth import tokens


@dataclass(frozen=True, slots=True)
class Words:
    """Counts of words: those seen, those in the text, and those in both, each as often as it is there."""

    seen: int = 0
    found: int = 0
    both: int = 0

    def __add__(self, other: Words) -> Words:
        return Words(self.seen + other.seen, self.found + other.found, self.both + other.both)

    @property
    def recall(self) -> float:
        """The share of the words seen that the text has."""
        return round(self.both / self.seen, 4) if self.seen else 1.0

    @property
    def precision(self) -> float:
        """The share of the text's words that are seen."""
        return round(self.both / self.found, 4) if self.found else 1.0


def compared(document: Document, text: str) -> Words:
    seen, found = Counter(tokens(document.seen)), Counter(tokens(text))
    return Words(seen.total(), found.total(), (seen & found).total())


def figures(
    documents: Iterable[Document], parse: Callable[[bytes, str], str], *, verbose: bool = False
) -> dict[str, object]:
    """The figures of all documents, and by format. `parse` gets the bytes and the file name."""
    by_kind: dict[str, list[Words]] = {}
    for document in documents:
        text = parse(document.data, document.filename)
        words = compared(document, text)
        by_kind.setdefault(document.kind, []).append(words)
        if verbose and words.seen > words.both:
            missing = Counter(tokens(document.seen)) - Counter(tokens(text))
            print(f"  {document.name}: missing {' '.join(missing.elements())}", flush=True)
    together = {kind: sum(words, Words()) for kind, words in by_kind.items()}
    everything = sum(together.values(), Words())
    return {
        "office_files": sum(map(len, by_kind.values())),
        "office_word_recall": everything.recall,
        "office_word_precision": everything.precision,
        "office_by_format": {
            kind: {"files": len(by_kind[kind]), "recall": words.recall, "precision": words.precision}
            for kind, words in together.items()
        },
    }
