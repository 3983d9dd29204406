"""Texts → forward passes of a bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def batches(tokens: Sequence[int], *, most_texts: int, most_tokens: int) -> Iterator[list[int]]:
    """The places of texts that share a forward pass, for texts of so many tokens each.

    Texts of like length share one, because each is padded to the longest: a pass has at most `most_texts` texts and,
    padding included, `most_tokens` tokens. A text that has more passes alone. The longest come first, so that where
    several passes run at once the last ones to end are short.
    """
    batch: list[int] = []
    for place in sorted(range(len(tokens)), key=lambda place: -tokens[place]):
        longest = tokens[batch[0]] if batch else 0
        if batch and (len(batch) == most_texts or (len(batch) + 1) * longest > most_tokens):
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch
