from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from deployments.embedding.base import Embedder, TokenVectors, create
from deployments.embedding.centring import CentredEmbedder
from deployments.embedding.config import EmbeddingConfig
from deployments.embedding.parallel_texts import PARALLEL
from deployments.inference.bundled import E5, MINILM
from deployments.inference.windows import Window
from deployments.lexical import detect_language
from deployments.types import EmbedderInfo, Matrix, TextKind

QUESTION = "Smijem li na bazen u kratkim hlačama s džepovima?"
ANSWER = "In the swimming pool, only trunks without pockets are allowed."
OTHERS = [
    "Gradska knjižnica je subotom otvorena od osam do dva.",
    "Smijete li voziti bicikl po nasipu, piše na ploči kod mosta.",
    "Kosilicu smijete koristiti radnim danom do osam navečer.",
]


def windows(*texts: str) -> list[Window]:
    return [Window(text, 1) for text in texts]


def cosines(embedder: Embedder) -> list[float]:
    """Of the question with the English answer, and with the Croatian texts about other things."""
    question = embedder.forward(windows(QUESTION), "query")[0]
    found: list[float] = (embedder.forward(windows(ANSWER, *OTHERS), "passage") @ question).tolist()
    return found


def test_a_croatian_question_finds_the_english_answer(e5: Embedder) -> None:
    answer, *others = cosines(e5)
    assert answer < max(others), "the language counts for more than what is said"
    answer, *others = cosines(CentredEmbedder(e5))
    assert answer > max(others) + 0.1


def test_vectors_and_token_vectors_have_unit_length_and_their_own_fingerprint(e5: Embedder) -> None:
    centred = CentredEmbedder(e5)
    assert centred.info.fingerprint != e5.info.fingerprint
    found = centred.forward_tokens(windows(QUESTION, ANSWER), "passage")
    plain = e5.forward_tokens(windows(QUESTION, ANSWER), "passage")
    assert found is not None
    assert plain is not None
    for vectors in (found.vectors, *found.tokens):
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert found.vectors == pytest.approx(centred.forward(windows(QUESTION, ANSWER), "passage"), abs=1e-5)
    assert [len(tokens) for tokens in found.tokens] == [len(tokens) for tokens in plain.tokens]


def test_the_texts_of_one_language_have_nothing_in_common_any_more(e5: Embedder) -> None:
    centred = CentredEmbedder(e5)
    for kind, by_language in PARALLEL.items():
        for texts in by_language.values():
            plain = np.linalg.norm(e5.forward(windows(*texts), kind).mean(axis=0))
            assert np.linalg.norm(centred.forward(windows(*texts), kind).mean(axis=0)) < 0.1 < plain


class WithoutTokens:
    """An embedder whose vectors are no averages of tokens'."""

    info = EmbedderInfo("m", "f", 4, 100, "")
    concurrent_passes = 1

    def count_tokens(self, texts: Sequence[str], kind: TextKind) -> list[int]:
        return [len(text) for text in texts]

    def split(self, texts: Sequence[str], kind: TextKind) -> list[list[Window]]:
        return [windows(text) for text in texts]

    def forward(self, windows: Sequence[Window], kind: TextKind) -> Matrix:
        drawn = np.array([[1, len(window.text), window.text.count("a"), 2] for window in windows], np.float32)
        vectors: Matrix = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
        return vectors

    def forward_tokens(self, windows: Sequence[Window], kind: TextKind) -> TokenVectors | None:
        return None


def test_a_model_without_token_vectors_stays_without() -> None:
    centred = CentredEmbedder(WithoutTokens())
    assert centred.forward_tokens(windows("a"), "query") is None
    assert np.linalg.norm(centred.forward(windows("a b", "c"), "query"), axis=1) == pytest.approx(1, abs=1e-5)
    assert centred.count_tokens(["abc"], "query") == [3]


def test_texts_are_parallel_and_each_is_known_by_its_language() -> None:
    for by_language in PARALLEL.values():
        assert len({len(texts) for texts in by_language.values()}) == 1
        for language, texts in by_language.items():
            assert len(set(texts)) == len(texts)
            assert [text for text in texts if detect_language(text) != language] == []


@pytest.mark.parametrize(
    ("config", "centres"),
    [
        (EmbeddingConfig(model=E5), True),
        (EmbeddingConfig(model=E5, centring=False), False),
        (EmbeddingConfig(model=MINILM), False),
        (EmbeddingConfig(model=MINILM, languages=("hr", "en")), True),
        (EmbeddingConfig(model="any/model", languages=("hr", "de")), False),
    ],
)
def test_it_is_for_models_that_know_both_languages(config: EmbeddingConfig, centres: bool) -> None:
    assert config.centres_languages == centres


def test_the_default_embedder_is_centred() -> None:
    assert isinstance(create(EmbeddingConfig()), CentredEmbedder)
