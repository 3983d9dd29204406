from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest

from deployments.generation.config import GenerationConfig
from deployments.generation.extractive import NO_ANSWER, ExtractiveEngine
from deployments.generation.sentences import plain
from deployments.types import GenerationLoad, GenerationRequest, Language, Passage, TextDelta, Usage

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
    assert last == TextDelta("", "stop", Usage(prompt_tokens=3, completion_tokens=5))


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


async def test_at_most_so_many_sentences(passage: MakePassage, request_for: MakeRequest) -> None:
    passages = tuple(passage(f"Dokumenti broj {n} se čuvaju dugo.", number=n) for n in range(1, 9))
    for limit in (1, 2, 3):
        engine = ExtractiveEngine(GenerationConfig(engine="extractive", max_sentences=limit))
        text, _ = await answer(engine, request_for("Koliko se čuvaju dokumenti?", passages=passages))
        assert len(re.findall(r"\[\d+\]", text)) == limit


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
    _, last = await answer(engine, request_for("Što je to?", passages=(passage(KEEPING),)))
    assert last.finish_reason == "no_answer"


async def test_coverage_below_the_least_is_no_answer(passage: MakePassage, request_for: MakeRequest) -> None:
    # "čuvaju" is found and "potvrde" is not; a term that no passage holds weighs like one that a single passage holds.
    request = request_for("Čuvaju li se potvrde?", passages=(passage(KEEPING), passage(WEATHER, number=2)))
    for least, reason in ((0.5, "stop"), (0.51, "no_answer")):
        engine = ExtractiveEngine(GenerationConfig(engine="extractive", min_coverage=least))
        assert (await answer(engine, request))[1].finish_reason == reason


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
    engine = ExtractiveEngine(GenerationConfig(engine="extractive", max_sentences=10, min_coverage=0.01))
    request = request_for("Koji je rok za žalbu i koliko se čuva dokument?", passages=passages)
    deltas = [delta.text async for delta in engine.generate(request)]
    if deltas == [NO_ANSWER["hr"]]:
        return
    assert deltas.pop() == ""
    assert 1 <= len(deltas) <= 10
    for delta in deltas:
        quoted = re.fullmatch(r" ?(.+) \[(\d+)\]", delta)
        assert quoted is not None
        source = passages[int(quoted[2]) - 1]
        assert not re.search(r"\[\d+\]", quoted[1])
        assert squeezed(quoted[1]) in squeezed(plain(source.text))


def squeezed(text: str) -> str:
    """Without the marks that Markdown puts between the words of a sentence."""
    return re.sub(r"[\s#|*`>-]+", "", text)
