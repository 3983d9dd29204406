from __future__ import annotations

import asyncio
import random
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from deployments.errors import StageUnavailable
from deployments.generation.config import GenerationConfig
from deployments.generation.extractive import NO_ANSWER, NOT_SURE, ExtractiveEngine
from deployments.generation.sentences import plain
from deployments.types import GenerationLoad, GenerationRequest, Language, Passage, Similarities, TextDelta, Usage

MakePassage = Callable[..., Passage]
MakeRequest = Callable[..., GenerationRequest]

KEEPING = "Svaki dokument ima vlasnika. Dokumenti se čuvaju 30 dana. Nakon toga se brišu."
WEATHER = "Danas je sunčano. Sutra će padati kiša."
CATS = "Mačke spavaju veći dio dana. Vole ribu."


@pytest.fixture
def engine() -> ExtractiveEngine:
    return ExtractiveEngine(GenerationConfig(engine="extractive"))


async def answer(engine: ExtractiveEngine, request: GenerationRequest) -> tuple[str, TextDelta]:
    deltas = [delta async for delta in engine.generate(request)]
    assert all(delta.finish_reason is None and delta.usage is None for delta in deltas[:-1])
    return "".join(delta.text for delta in deltas), deltas[-1]


async def test_quotes_the_sentence_that_answers_and_cites_its_passage(
    engine: ExtractiveEngine, passage: MakePassage, request_for: MakeRequest
) -> None:
    passages = (passage(WEATHER, number=1), passage(KEEPING, number=2), passage(CATS, number=3))
    text, last = await answer(engine, request_for("Koliko dugo se čuvaju dokumenti?", passages=passages))
    assert text == "Dokumenti se čuvaju 30 dana. [2]"
    assert (last.text, last.finish_reason, last.usage) == ("", "stop", Usage(prompt_tokens=3, completion_tokens=5))


async def test_text_typed_without_diacritics_meets_text_with_them_and_the_answer_keeps_them(
    engine: ExtractiveEngine, passage: MakePassage, request_for: MakeRequest
) -> None:
    passages = (passage(KEEPING), passage(WEATHER, number=2))
    text, _ = await answer(engine, request_for("koliko se cuvaju dokumenti", passages=passages))
    assert text == "Dokumenti se čuvaju 30 dana. [1]"


async def test_a_heading_lends_its_words_to_the_sentence_below_it(
    engine: ExtractiveEngine, passage: MakePassage, request_for: MakeRequest
) -> None:
    text = "# Vlasnik\n\nSvaki zapis ga ima.\n\n# Koliko dugo se čuvaju dokumenti?\n\nTrideset dana."
    passages = (passage(text), passage(WEATHER, number=2))
    found, _ = await answer(engine, request_for("Koliko dugo se čuvaju dokumenti?", passages=passages))
    assert found == "Trideset dana. [1]"


async def test_at_most_so_many_sentences_and_words(passage: MakePassage, request_for: MakeRequest) -> None:
    passages = tuple(passage(f"Dokumenti broj {n} se čuvaju dugo.", number=n) for n in range(1, 9))
    for sentences, words, expected in ((1, 120, 1), (3, 120, 3), (8, 13, 2)):
        config = GenerationConfig(engine="extractive", max_sentences=sentences, max_words=words)
        text, _ = await answer(ExtractiveEngine(config), request_for("Koliko se čuvaju dokumenti?", passages=passages))
        assert len(re.findall(r"\[\d+\]", text)) == expected


async def test_the_same_sentence_is_quoted_once(
    engine: ExtractiveEngine, passage: MakePassage, request_for: MakeRequest
) -> None:
    passages = (passage(KEEPING), passage(KEEPING, number=2))
    text, _ = await answer(engine, request_for("Koliko se čuvaju dokumenti?", passages=passages))
    assert text == "Dokumenti se čuvaju 30 dana. [1]"


@pytest.mark.parametrize("language", ["hr", "en"])
async def test_says_so_when_nothing_answers(
    engine: ExtractiveEngine, passage: MakePassage, request_for: MakeRequest, language: Language
) -> None:
    questions = {"hr": "Kolika je stopa poreza na knjige?", "en": "What is the tax rate on books?"}
    for passages in ((), (passage(WEATHER), passage(CATS, number=2))):
        text, last = await answer(engine, request_for(questions[language], language=language, passages=passages))
        assert text == NO_ANSWER[language]
        assert last.finish_reason == "no_answer"
        assert last.usage == Usage(3, len(text.split()))


async def test_a_question_in_a_document_is_no_answer(
    engine: ExtractiveEngine, passage: MakePassage, request_for: MakeRequest
) -> None:
    passages = (passage("Koliko se čuvaju dokumenti? Dokumenti se čuvaju dugo."), passage(WEATHER, number=2))
    text, _ = await answer(engine, request_for("Koliko se čuvaju dokumenti?", passages=passages))
    assert text == "Dokumenti se čuvaju dugo. [1]"


async def test_a_word_that_only_asks_finds_nothing(
    engine: ExtractiveEngine, passage: MakePassage, request_for: MakeRequest
) -> None:
    passages = (passage("A question may be 2 KiB long.", language="en"), passage(WEATHER, number=2))
    _, last = await answer(engine, request_for("How long are files kept?", language="en", passages=passages))
    assert last.finish_reason == "no_answer"


async def test_a_question_of_stop_words_has_no_answer(
    engine: ExtractiveEngine, passage: MakePassage, request_for: MakeRequest
) -> None:
    text, last = await answer(engine, request_for("Što je to?", passages=(passage(KEEPING),)))
    assert (text, last.finish_reason) == (NO_ANSWER["hr"], "no_answer")


class Scorer:
    """Says how near each sentence is by the first of `cosines` whose key is in it; else 0.7. With `tokens`, each
    sentence is as near to so many tokens of the question."""

    def __init__(
        self,
        cosines: Mapping[str, float],
        failure: Exception | None = None,
        delay_s: float = 0,
        tokens: int | None = None,
    ) -> None:
        self.cosines = cosines
        self.tokens = tokens
        self.failure = failure
        self.delay_s = delay_s
        self.asked: list[Sequence[str]] = []

    async def similarities(self, question: str, sentences: Sequence[str]) -> Similarities:
        self.asked.append(sentences)
        await asyncio.sleep(self.delay_s)
        if self.failure is not None:
            raise self.failure
        cosines = [next((cosine for key, cosine in self.cosines.items() if key in text), 0.7) for text in sentences]
        nearest = np.repeat(np.array([cosines], np.float32).T, self.tokens, axis=1) if self.tokens is not None else None
        return Similarities(tuple(cosines), "multilingual-e5-small", nearest)


async def test_it_is_the_surer_the_nearer_the_first_passages_are(
    passage: MakePassage, request_for: MakeRequest
) -> None:
    passages = tuple(passage(f"Dokumenti broj {n} se čuvaju dugo.", number=n) for n in range(1, 6))

    async def certainty(**cosines: float) -> float:
        scorer = Scorer({key.replace("_", " "): cosine for key, cosine in cosines.items()}, tokens=3)
        engine = ExtractiveEngine(GenerationConfig(engine="extractive"), scorer)
        _, last = await answer(engine, request_for("Koliko se čuvaju dokumenti?", passages=passages))
        assert last.confidence is not None
        return last.confidence

    far = await certainty()
    assert await certainty(broj_4=0.9) > 0.8 > 0.2 > far
    assert await certainty(broj_5=0.9) == far, "the fifth passage is not asked"


async def test_a_question_that_the_model_reads_no_token_of_has_a_confidence(
    passage: MakePassage, request_for: MakeRequest
) -> None:
    request = request_for("\u200b", passages=(passage(WEATHER),))
    for tokens in (0, None):
        engine = ExtractiveEngine(GenerationConfig(engine="extractive"), Scorer({}, tokens=tokens))
        _, last = await answer(engine, request)
        assert last.confidence is not None
        assert 0 < last.confidence < 0.5


async def test_the_meaning_finds_what_terms_do_not(passage: MakePassage, request_for: MakeRequest) -> None:
    passages = (passage(WEATHER), passage(KEEPING, number=2))
    engine = ExtractiveEngine(GenerationConfig(engine="extractive", max_sentences=1), Scorer({"brišu": 0.95}))
    text, last = await answer(engine, request_for("Kada nestaju spisi?", passages=passages))
    assert text.endswith("Nakon toga se brišu. [2]")
    assert last.degraded == ()
    assert last.confidence is not None


@pytest.mark.parametrize("scorer", [Scorer({}, StageUnavailable("embedding is down")), Scorer({}, delay_s=30)])
async def test_without_vectors_it_goes_by_terms_and_says_so(
    passage: MakePassage, request_for: MakeRequest, scorer: Scorer
) -> None:
    engine = ExtractiveEngine(GenerationConfig(engine="extractive", similarity_s=0.05), scorer)
    passages = (passage(WEATHER), passage(KEEPING, number=2))
    text, last = await answer(engine, request_for("Koliko se čuvaju dokumenti?", passages=passages))
    assert "Dokumenti se čuvaju 30 dana. [2]" in text
    assert last.degraded == ("embedding",)


async def test_compares_a_bounded_number_of_sentences(passage: MakePassage, request_for: MakeRequest) -> None:
    scorer = Scorer({})
    engine = ExtractiveEngine(GenerationConfig(engine="extractive", max_candidates=5), scorer)
    await answer(engine, request_for("Što?", passages=tuple(passage(KEEPING, number=n) for n in range(1, 9))))
    assert len(scorer.asked[0]) == 5


@pytest.mark.parametrize("language", ["hr", "en"])
async def test_an_answer_that_is_not_sure_says_so_and_shows_what_is_nearest(
    passage: MakePassage, request_for: MakeRequest, language: Language
) -> None:
    engine = ExtractiveEngine(GenerationConfig(engine="extractive", sure_from=1), Scorer({}))
    text, last = await answer(engine, request_for("Koji je rok?", language=language, passages=(passage(KEEPING),)))
    notice, first, *_ = text.split("\n")
    assert notice == NOT_SURE[language]
    assert first.endswith("[1]")
    assert last.finish_reason == "no_answer"


LAW = (
    "## Članak 12.\n\n(1) Prijava se podnosi u roku od osam dana.",
    "## Članak 13.\n\n(1) Inspektor može zatvoriti objekt. (2) Žalba nije dopuštena.",
)


@pytest.mark.parametrize(
    "question",
    [
        "Što piše u članku 13?",
        "Što kaže čl. 13?",
        "Što kaže članak 13.?",
        "sto kaze clanak 13",
        "Što određuje 13. članak?",
    ],
)
async def test_an_article_is_quoted_however_it_is_named(
    engine: ExtractiveEngine, passage: MakePassage, request_for: MakeRequest, question: str
) -> None:
    passages = tuple(passage(text, number=number) for number, text in enumerate(LAW, start=1))
    text, last = await answer(engine, request_for(question, passages=passages))
    assert text == "Članak 13. (1) Inspektor može zatvoriti objekt. [2] (2) Žalba nije dopuštena. [2]"
    assert last.finish_reason == "stop"


async def test_a_paragraph_of_an_article(
    engine: ExtractiveEngine, passage: MakePassage, request_for: MakeRequest
) -> None:
    passages = tuple(passage(text, number=number) for number, text in enumerate(LAW, start=1))
    text, _ = await answer(engine, request_for("Što kaže čl. 13. st. 2.?", passages=passages))
    assert text == "Članak 13. (2) Žalba nije dopuštena. [2]"


async def test_an_item_comes_below_the_line_that_opens_its_list(passage: MakePassage, request_for: MakeRequest) -> None:
    law = "## Članak 5.\n\nKaznit će se kaznom od 500 eura osoba ako: 1. ne vodi upisnik 2. ne izradi plan. Ostalo."
    engine = ExtractiveEngine(GenerationConfig(engine="extractive", max_sentences=1), Scorer({"plan": 0.95}))
    text, last = await answer(engine, request_for("Tko nije izradio plan?", passages=(passage(law),)))
    assert text.endswith("Članak 5. Kaznit će se kaznom od 500 eura osoba ako: 2. ne izradi plan. [1]")
    assert last.citations == ()


async def test_a_number_alone_and_the_end_of_a_cut_sentence_are_not_quoted(
    passage: MakePassage, request_for: MakeRequest
) -> None:
    engine = ExtractiveEngine(GenerationConfig(engine="extractive", sure_from=0), Scorer({}))
    cut = replace(passage("dana od dostave. 8.\n\nDokumenti se čuvaju 30 dana."), position=3)
    text, _ = await answer(engine, request_for("Koliko se čuvaju dokumenti?", passages=(cut,)))
    assert text == "Dokumenti se čuvaju 30 dana. [1]"


async def test_sentences_of_a_section_are_in_reading_order(passage: MakePassage, request_for: MakeRequest) -> None:
    engine = ExtractiveEngine(
        GenerationConfig(engine="extractive", sure_from=0), Scorer({"brišu": 0.95, "vlasnika": 0.9, "sunčano": 0.8})
    )
    text, _ = await answer(engine, request_for("Kada?", passages=(passage(WEATHER), passage(KEEPING, number=2))))
    assert text.startswith("Svaki dokument ima vlasnika. [2]")
    assert text.index("30 dana") < text.index("brišu") < text.index("sunčano")


async def test_an_english_passage_answers_a_croatian_question_by_the_words_they_share(
    engine: ExtractiveEngine, passage: MakePassage, request_for: MakeRequest
) -> None:
    passages = (passage("Kubernetes runs the replicas.", language="en"), passage(WEATHER, number=2))
    text, _ = await answer(engine, request_for("Što je Kubernetes?", passages=passages))
    assert text == "Kubernetes runs the replicas. [1]"


@pytest.mark.parametrize(
    ("limit", "text", "reason", "words"),
    [(5, "Dokumenti se čuvaju 30 dana. [1]", "stop", 5), (3, "Dokumenti se čuvaju [1]", "length", 3)],
)
async def test_stops_at_its_limit(
    engine: ExtractiveEngine,
    passage: MakePassage,
    request_for: MakeRequest,
    limit: int,
    text: str,
    reason: str,
    words: int,
) -> None:
    passages = (passage(KEEPING), passage(WEATHER, number=2))
    request = request_for("Koliko se čuvaju dokumenti?", passages=passages, max_tokens=limit)
    found, last = await answer(engine, request)
    assert (found, last.finish_reason, last.usage) == (text, reason, Usage(3, words))


async def test_an_abort_between_two_sentences_ends_the_stream(
    engine: ExtractiveEngine, passage: MakePassage, request_for: MakeRequest
) -> None:
    passages = tuple(passage(f"Dokumenti broj {n} se čuvaju dugo.", number=n) for n in range(1, 4))
    stream = engine.generate(request_for("Koliko se čuvaju dokumenti?", passages=passages))
    await anext(stream)
    assert await engine.load() == GenerationLoad(running=1, waiting=0)
    assert not await engine.abort("other", "q")
    assert await engine.abort("t", "q")
    rest = [delta async for delta in stream]
    assert [(delta.text, delta.finish_reason) for delta in rest] == [("", "cancelled")]
    assert await engine.load() == GenerationLoad(running=0, waiting=0)


async def test_an_abort_that_came_first_ends_it_before_it_begins(
    engine: ExtractiveEngine, passage: MakePassage, request_for: MakeRequest
) -> None:
    assert not await engine.abort("t", "q")
    text, last = await answer(engine, request_for("Koliko se čuvaju dokumenti?", passages=(passage(KEEPING),)))
    assert (text, last.finish_reason) == ("", "cancelled")


async def test_counts_words(engine: ExtractiveEngine) -> None:
    assert await engine.count_tokens(["", "jedan", " jedan  dva\ntri "]) == [0, 1, 3]


@pytest.mark.parametrize("seed", range(60))
async def test_invents_nothing(passage: MakePassage, request_for: MakeRequest, seed: int) -> None:
    """Whatever the passages hold, the answer is their sentences, word for word, each cited by its passage's number."""
    chance = random.Random(seed)
    words = ["dokument", "dokumenti", "čuva", "čuvaju", "rok", "30", "dana", "čl.", "5.", "žalba", "**žalba**", "[2]"]
    words += ["Sud", "(1)", "#", "-", "`kod`", "|", "\n", "\n\n"]
    passages = tuple(
        passage(" ".join(chance.choice(words) + chance.choice(["", "", ".", "?"]) for _ in range(40)), number=number)
        for number in range(1, chance.randint(2, 9))
    )
    engine = ExtractiveEngine(GenerationConfig(engine="extractive", max_sentences=10, sure_from=0))
    request = request_for("Koji je rok za žalbu i koliko se čuva dokument?", passages=passages)
    deltas = [delta async for delta in engine.generate(request)]
    text = "".join(delta.text for delta in deltas)
    if text == NO_ANSWER["hr"]:
        return
    spans = [span for delta in deltas for span in delta.citations or ()]
    markers = re.findall(r"\[(\d+)\]", text)
    assert 1 <= len(markers) <= 10
    assert len(markers) <= len(spans)
    for span in spans:
        quoted, source = text[span.start : span.end], passages[span.numbers[0] - 1]
        assert not re.search(r"\[\d+\]", quoted)
        assert squeezed(quoted) in squeezed(plain(source.text))


def squeezed(text: str) -> str:
    """Without the marks that Markdown puts between the words of a sentence."""
    return re.sub(r"[\s#|*`>-]+", "", text)


@pytest.mark.parametrize(
    "question",
    [
        "Što kaže članak 13.?",
        "Što piše u članku 13?",
        "Što kaže čl. 13?",
        "Što kaze cl. 13",
        "Što je u 13. članku?",
        unicodedata.normalize("NFD", "Što kaže čl. 13?"),
        "što stoji u čl.\u00a013",
        "Članak br. 13",
        "Objasni članak 13.",
        "Što je propisano člankom 13.?",
        "Sadržaj članka 13. Zakona o primjeru",
        "Molim te citiraj čl. 13. točno",
    ],
)
async def test_an_article_is_one_however_the_question_names_it(
    engine: ExtractiveEngine, passage: MakePassage, request_for: MakeRequest, question: str
) -> None:
    passages = (
        passage("## Članak 13.\n\n(1) Inspektor može zatvoriti objekt.", number=1),
        passage("# Zakon o primjeru\n\n## Članak 12.\n\n(1) Prijava se podnosi u roku od osam dana.", number=2),
    )
    titled = tuple(replace(each, title="Zakon o primjeru") for each in passages)
    text, last = await answer(engine, request_for(question, passages=titled))
    assert text == "Članak 13. (1) Inspektor može zatvoriti objekt. [1]"
    assert last.confidence == 0.95


@pytest.mark.parametrize("language", ["hr", "en"])
@pytest.mark.parametrize(
    "question",
    [
        "What does article 13 say?",
        "What is written in Art. 13?",
        "Please explain article 13.",
        "What does paragraph 1 of article 13 say?",
        "What does čl. 13 say?",
        "What does st. 1 of clause 13 provide?",
        "Što kaže članak 13.?",
        "Što piše u članku 13. stavku 1.?",
        "Što kaže article 13?",
    ],
)
async def test_an_article_is_named_in_either_language_whatever_language_is_asked_for(
    engine: ExtractiveEngine, passage: MakePassage, request_for: MakeRequest, question: str, language: Language
) -> None:
    passages = tuple(passage(text, number=number) for number, text in enumerate(LAW, start=1))
    text, _ = await answer(engine, request_for(question, language=language, passages=passages))
    assert text.startswith("Članak 13. (1) Inspektor može zatvoriti objekt. [2]")


@pytest.mark.parametrize("language", ["hr", "en"])
async def test_a_question_that_asks_for_more_than_an_article_is_answered_by_its_terms(
    engine: ExtractiveEngine, passage: MakePassage, request_for: MakeRequest, language: Language
) -> None:
    passages = tuple(passage(text, number=number) for number, text in enumerate(LAW, start=1))
    question = "Što kaže članak 13. o žalbi?"
    text, _ = await answer(engine, request_for(question, language=language, passages=passages))
    assert text == "Članak 13. (2) Žalba nije dopuštena. [2]"


async def test_articles_that_a_question_lists_are_all_quoted(
    engine: ExtractiveEngine, passage: MakePassage, request_for: MakeRequest
) -> None:
    passages = tuple(replace(passage(text, number=number), document_id="d") for number, text in enumerate(LAW, start=1))
    text, last = await answer(engine, request_for("Što kažu čl. 12. i 13.?", passages=passages))
    assert [line.split(" (1)")[0] for line in text.splitlines()] == ["Članak 12.", "Članak 13."]
    assert last.confidence == 0.95
