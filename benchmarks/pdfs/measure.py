"""Compares the text of PDFs with what is known of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from benchmarks.pdfs.truth import Truth, tokens


def figures_of(documents: Sequence[tuple[Truth, str]]) -> dict[str, float]:
    words = recalled = rows = whole = 0
    orders: list[float] = []
    headings = [0, 0, 0]  # right, found, expected
    for truth, text in documents:
        found = tokens(text)
        words += len(truth.words)
        recalled += (Counter(truth.words) & Counter(found)).total()
        orders.append(common_subsequence(truth.words, found) / max(len(truth.words), len(found), 1))
        lines = Counter(" ".join(tokens(line)) for line in text.split("\n"))
        expected_rows = Counter(" ".join(row) for row in truth.rows)
        rows += expected_rows.total()
        whole += (expected_rows & lines).total()
        marked = Counter(" ".join(tokens(line)) for line in text.split("\n") if line.startswith("#"))
        expected = Counter(" ".join(heading) for heading in truth.headings)
        for number, counted in enumerate(((marked & expected), marked, expected)):
            headings[number] += counted.total()
    return {
        "word_recall": round(recalled / words, 4),
        "order": round(sum(orders) / len(orders), 4),
        "rows_whole": round(whole / rows, 4) if rows else 1.0,
        "headings_f1": round(2 * headings[0] / (headings[1] + headings[2]), 4) if headings[1] + headings[2] else 1.0,
    }


def common_subsequence(words: Sequence[str], found: Sequence[str]) -> int:
    """The length of the longest common subsequence. All rows of the usual table are one number, a bit a word."""
    places: dict[str, int] = {}
    for number, word in enumerate(words):
        places[word] = places.get(word, 0) | 1 << number
    everything = (1 << len(words)) - 1
    row = everything
    for word in found:
        matches = row & places.get(word, 0)
        row = ((row + matches) | (row - matches)) & everything
    return len(words) - row.bit_count()
