from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deployments.embedding.base import Embedder, TokenVectors
from deployments.embedding.config import EmbeddingConfig
from deployments.embedding.deployment import Embedding
from deployments.embedding.language_shift import LanguageShifts, knows_both
from deployments.embedding.parallel_questions import PARALLEL_QUESTIONS
from deployments.inference.windows import Window
from deployments.lexical import detect_language
from deployments.types import EmbedderInfo, Matrix, TextKind

QUESTIONS = Path(__file__).parents[4] / "benchmarks/questions/cross_language"
QUESTION = "Smijem li na bazen u kratkim hlačama s džepovima?"
ANSWER = "In the swimming pool, only trunks without pockets are allowed."


def windows(*texts: str) -> list[Window]:
    return [Window(text, 1) for text in texts]


def mean_place(questions: Sequence[Sequence[Matrix]], documents: Sequence[Matrix], right: Sequence[int]) -> float:
    """Of the right document, from 1. `questions`: for each, its vectors for each document."""
    places = []
    for vectors, number in zip(questions, right, strict=True):
        scores = [(tokens @ document.T).max(axis=1).mean() for tokens, document in zip(vectors, documents, strict=True)]
        places.append(sum(score > scores[number] for score in scores) + 1)
    return float(np.mean(places))


@pytest.mark.parametrize("by_tokens", [False, True])
def test_questions_are_nearer_to_what_answers_them_in_the_other_language(e5: Embedder, by_tokens: bool) -> None:
    """Each question's right document is in the other language, and there are documents in its own."""
    asked = [json.loads(line) for line in (QUESTIONS / "questions.jsonl").read_text("utf-8").splitlines()]
    texts = {path.stem: path.read_text("utf-8") for path in sorted(QUESTIONS.rglob("*.md"))}
    right = [[*texts].index(question["gold"][0]) for question in asked]
    shifts = LanguageShifts(e5)

    def vectors(text: str, kind: TextKind) -> Matrix:
        found = e5.forward_tokens(windows(text), kind)
        assert found is not None
        return found.tokens[0] if by_tokens else found.vectors

    documents = [vectors(text, "passage") for text in texts.values()]
    languages = [detect_language(text) for text in texts.values()]
    plain, shifted = [], []
    for question in asked:
        own, shift = vectors(question["query"], "query"), shifts.of(question["query"])
        assert shift is not None
        turned = shift.shifted_tokens(own) if by_tokens else shift.shifted(own)
        plain.append([own] * len(documents))
        shifted.append([turned if language == shift.language else own for language in languages])
    assert mean_place(shifted, documents, right) < 0.85 * mean_place(plain, documents, right)


def test_what_is_shifted_has_unit_length(e5: Embedder) -> None:
    shift = LanguageShifts(e5).of("How long may dogs stay on the beach?")
    assert shift is not None
    assert shift.language == "hr"
    vectors = e5.forward(windows(QUESTION, ANSWER), "query")
    assert np.linalg.norm(shift.shifted(vectors[0])) == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(shift.shifted_tokens(vectors), axis=1) == pytest.approx(1, abs=1e-5)
    assert replace(shift, token=None).shifted_tokens(vectors) is vectors


async def test_a_question_for_a_search_brings_it_and_nothing_else_does() -> None:
    embedding = Embedding(EmbeddingConfig())
    asked = await embedding.embed([QUESTION], "query", with_tokens=True)
    assert asked.shift is not None
    assert asked.shift.language == "en"
    for texts, kind, with_tokens in (([QUESTION], "query", False), ([QUESTION] * 2, "query", True)):
        assert (await embedding.embed(texts, kind, with_tokens)).shift is None  # type: ignore[arg-type]
    assert (await embedding.embed([QUESTION], "passage", with_tokens=True)).shift is None
    vectors = (await embedding.embed([ANSWER, QUESTION], "passage")).vectors
    similar = await embedding.similarities(QUESTION, [ANSWER, QUESTION])
    expected = (vectors[0] @ asked.shift.shifted(asked.vectors[0]), vectors[1] @ asked.vectors[0])
    assert similar.cosines == pytest.approx(expected, abs=0.01)
    asked = await embedding.embed([ANSWER], "query", with_tokens=True)
    (keywords,) = (await embedding.embed(["Maximum speed 130 km/h"], "passage")).vectors
    (cosine,) = (await embedding.similarities(ANSWER, ["Maximum speed 130 km/h"])).cosines
    assert cosine == pytest.approx(keywords @ asked.vectors[0], abs=0.003), "it may be of the question's language"


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


def test_a_model_without_token_vectors_has_no_shift_of_them() -> None:
    shift = LanguageShifts(WithoutTokens()).of(QUESTION)
    assert shift is not None
    assert shift.text.shape == (4,)
    assert shift.token is None


def test_a_question_of_keywords_which_tell_no_language_is_not_shifted() -> None:
    shifts = LanguageShifts(WithoutTokens())
    assert [shifts.of(question) for question in ("Parental leave duration", "otkazni rok", "?", "")] == [None] * 4


def test_questions_are_parallel_and_each_is_known_by_its_language() -> None:
    assert len({len(texts) for texts in PARALLEL_QUESTIONS.values()}) == 1
    for language, texts in PARALLEL_QUESTIONS.items():
        assert len(set(texts)) == len(texts)
        assert [text for text in texts if detect_language(text) != language] == []


@pytest.mark.parametrize(
    ("languages", "both"), [((), True), (("hr", "en", "de"), True), (("en",), False), (("hr", "de"), False)]
)
def test_it_is_for_models_that_know_both_languages(languages: Sequence[str], both: bool) -> None:
    assert knows_both(languages) == both
