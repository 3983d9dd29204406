from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from deployments.embedding.base import Embedder, create
from deployments.embedding.config import EmbeddingConfig
from deployments.embedding.sentence_transformer import dtype
from deployments.errors import StageUnavailable
from deployments.inference import windows
from deployments.inference.bundled import E5, MINILM
from deployments.inference.windows import Window
from tests.support.models import embed

LONG = "The register of data subjects is kept by the controller for ten years. " * 40


def test_vectors_are_unit_float32_in_the_order_of_the_texts(minilm: Embedder) -> None:
    texts = ["a cat sits on the mat, and it does so all day long", "tax law", "kitten"]
    found = embed(minilm, texts, "passage")
    assert found.dtype == np.float32
    assert found.shape == (3, 384)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)
    for at, text in enumerate(texts):
        assert found[at] == pytest.approx(embed(minilm, [text], "passage")[0], abs=1e-5)


def test_a_texts_vector_is_the_mean_of_its_tokens(minilm: Embedder, e5: Embedder) -> None:
    texts = ["a cat sits on the mat", "tax law"]
    for embedder in (minilm, e5):
        found = embedder.forward_tokens([Window(text, 1) for text in texts], "passage")
        assert found is not None
        assert found.vectors == pytest.approx(embed(embedder, texts, "passage"), abs=1e-5)
        for text, vector, tokens in zip(texts, found.vectors, found.tokens, strict=True):
            assert len(text.split()) <= len(tokens) <= len(text.split()) + 2
            assert np.linalg.norm(tokens, axis=1) == pytest.approx(1, abs=1e-5)
            mean = tokens.mean(axis=0)
            assert mean @ vector / np.linalg.norm(mean) > 0.8  # special tokens and the prompt's are in the vector too


def test_meaning_is_near(minilm: Embedder) -> None:
    asked = embed(minilm, ["How do I give my money back to the bank?"], "query")[0]
    loan, dog = embed(minilm, ["Repayment of a loan", "Walking a dog in the rain"], "passage")
    assert asked @ loan > asked @ dog + 0.2


def test_no_texts_have_no_vectors(minilm: Embedder) -> None:
    assert embed(minilm, [], "passage").shape == (0, 384)


def test_an_empty_text_has_a_vector(minilm: Embedder) -> None:
    assert np.linalg.norm(embed(minilm, [""], "passage")) == pytest.approx(1, abs=1e-5)


def test_a_tail_far_beyond_what_the_model_reads_moves_the_vector(minilm: Embedder) -> None:
    banana, volcano = embed(minilm, [LONG + "bananas " * 80, LONG + "volcanoes " * 80], "passage")
    assert banana @ volcano < 0.999


def test_a_long_text_is_the_mean_of_its_windows_by_tokens(minilm: Embedder) -> None:
    tokenizer = Tokenizer.from_str(minilm.info.tokenizer_json)
    ((*parts,),) = windows.split_into_windows(tokenizer, [LONG], minilm.info.max_tokens - 2)
    assert len(parts) > 2
    vectors = embed(minilm, [part.text for part in parts], "passage")
    mean = np.average(vectors, axis=0, weights=[part.tokens for part in parts])
    assert embed(minilm, [LONG], "passage")[0] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)


def test_callers_may_come_at_the_same_time(minilm: Embedder) -> None:
    texts = [f"{LONG[: 40 * number]} number {number}" for number in range(1, 25)]
    alone = [embed(minilm, [text], "passage")[0] for text in texts]
    with ThreadPoolExecutor(4) as threads:
        together = [*threads.map(lambda text: embed(minilm, [text], "passage")[0], texts)]
    assert np.array(together) == pytest.approx(np.array(alone), abs=1e-5)


def test_it_counts_what_the_model_reads(minilm: Embedder) -> None:
    tokenizer = Tokenizer.from_str(minilm.info.tokenizer_json)
    texts = ["who pays?", "", LONG]
    assert minilm.count_tokens(texts, "passage") == [len(tokenizer.encode(text)) for text in texts]


def test_what_it_says_of_itself(minilm: Embedder) -> None:
    info = minilm.info
    assert (info.model, info.dimension, info.max_tokens, info.languages) == ("all-MiniLM-L6-v2", 384, 256, ("en",))
    assert re.fullmatch(r"[a-z0-9]{12,16}", info.fingerprint)
    tokenizer = Tokenizer.from_str(info.tokenizer_json)
    assert len(tokenizer.encode(LONG).ids) > 256, "the tokenizer must count all of a text"


def test_the_models_own_prompts_go_before_texts(minilm: Embedder, model_folder: Callable[..., Path]) -> None:
    folder = model_folder({"query": "Question: ", "document": "Statement: "})
    prompted = create(EmbeddingConfig(dtype="float32", int8_weights=False, model=str(folder)))
    plain = embed(minilm, ["Question: who pays?", "Statement: who pays?"], "passage")
    assert embed(prompted, ["who pays?"], "query")[0] == pytest.approx(plain[0], abs=1e-5)
    assert embed(prompted, ["who pays?"], "passage")[0] == pytest.approx(plain[1], abs=1e-5)
    assert prompted.info.fingerprint != minilm.info.fingerprint
    assert prompted.info.model == "prompted-minilm"

    silenced = create(
        EmbeddingConfig(dtype="float32", int8_weights=False, model=str(folder), query_prompt="", passage_prompt="")
    )
    plain = embed(minilm, ["who pays?"], "query")
    assert embed(silenced, ["who pays?"], "query") == pytest.approx(plain, abs=1e-5)
    assert silenced.info.fingerprint == minilm.info.fingerprint, "the same files elsewhere, used the same way"


def test_a_long_prompt_counts_in_every_window() -> None:
    embedder = create(EmbeddingConfig(model=MINILM, passage_prompt="one word after another " * 50))
    text = "The register is kept. " * 20
    first, other = embed(embedder, [text + "bananas " * 10, text + "volcanoes " * 10], "passage")
    assert first @ other < 0.9999


def test_a_prompt_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(StageUnavailable, match=r"embedding\.query_prompt leaves no room"):
        create(EmbeddingConfig(model=MINILM, query_prompt="word " * 250))


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(StageUnavailable, match=r"embedding\.model .* cannot be loaded"):
        create(EmbeddingConfig(dtype="float32", model=str(tmp_path)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there_is_named() -> None:
    with pytest.raises(StageUnavailable, match=r"embedding\.device is cuda"):
        create(EmbeddingConfig(device="cuda"))


def test_threads_are_as_configured() -> None:
    before = torch.get_num_threads()
    try:
        embedder = create(EmbeddingConfig(model=MINILM, threads=3))
        assert torch.get_num_threads() == 3
        assert embedder.concurrent_passes == 3
        embed(embedder, ["a passage"], "passage")
        assert torch.get_num_threads() == 1, "as many passes at once instead"
        embed(embedder, ["a question"], "query")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("device", "instructions", "expected"),
    [
        ("cpu", {"avx512_bf16": True}, torch.bfloat16),
        ("cpu", {"amx_bf16": True, "avx512_bf16": False}, torch.bfloat16),
        ("cpu", {"avx2": True, "avx512_bf16": False}, torch.float32),
        ("cuda", {}, torch.bfloat16),
    ],
)
def test_auto_takes_bfloat16_where_the_hardware_multiplies_it(
    monkeypatch: pytest.MonkeyPatch,
    device: Literal["cpu", "cuda"],
    instructions: dict[str, bool],
    expected: torch.dtype,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions)
    assert dtype(EmbeddingConfig(device=device)) == expected
    assert dtype(EmbeddingConfig(device=device, dtype="float16")) == torch.float16


def test_bfloat16_vectors_are_those_of_float32_in_the_same_space(minilm: Embedder) -> None:
    texts = [LONG, "Rok za žalbu je 15 dana.", "a cat sits on the mat", ""]
    halved = create(EmbeddingConfig(model=MINILM, dtype="bfloat16", int8_weights=False))
    short = embed(halved, texts, "passage")
    whole = embed(minilm, texts, "passage")
    assert short.dtype == np.float32
    assert halved.info.fingerprint == minilm.info.fingerprint
    assert (short * whole).sum(axis=1).min() > 0.99


def test_the_model_meets_few_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = create(EmbeddingConfig(model=MINILM, dtype="float32", int8_weights=False))
    lengths = set[int]()
    run = vars(type(embedder))["_run"]

    def seen(self: object, features: dict[str, torch.Tensor], kind: str) -> dict[str, torch.Tensor]:
        lengths.add(features["input_ids"].shape[1])
        assert features["input_ids"].shape == features["attention_mask"].shape
        found: dict[str, torch.Tensor] = run(self, features, kind)
        return found

    monkeypatch.setattr(type(embedder), "_run", seen)
    for words in (1, 5, 20, 21, 22, 90, 250, 400):
        embed(embedder, ["a " * words], "passage")
    assert lengths <= set(range(16, 257, 16))
    assert len(lengths) > 3


def test_the_bundled_multilingual_model_knows_croatian(e5: Embedder) -> None:
    assert e5.info.languages == ()
    asked = embed(e5, ["Kako da vratim novac banci?", "How do I give my money back to the bank?"], "query")
    loan, dog = embed(e5, ["Otplata zajma", "Šetnja psa po kiši"], "passage")
    assert (asked @ loan > asked @ dog + 0.02).all()


def test_a_passage_may_have_as_many_tokens_as_the_prompt_leaves(e5: Embedder) -> None:
    tokenizer = windows.untruncated(e5.info.tokenizer_json)
    prompt = len(tokenizer.encode("passage: ", add_special_tokens=False))
    assert e5.info.max_tokens == 512 - prompt
    words = "riječ " * 600
    fitting = max(n for n in range(500) if len(tokenizer.encode(words[: 6 * n])) <= e5.info.max_tokens)
    assert [len(parts) for parts in e5.split([words[: 6 * fitting], words], "passage")] == [1, 2]


def test_a_special_tokens_name_in_a_text_is_text(e5: Embedder) -> None:
    features = e5._model.preprocess(["rok </s> je <pad> 15"])  # type: ignore[attr-defined]
    tokenizer = windows.untruncated(e5.info.tokenizer_json)
    assert features["input_ids"][0].tolist() == tokenizer.encode("rok </s> je <pad> 15").ids
    assert features["input_ids"][0].tolist().count(tokenizer.token_to_id("</s>")) == 1


@pytest.mark.parametrize(
    ("model", "languages", "known"),
    [
        (MINILM, None, ("en",)),
        (f"sentence-transformers/{MINILM}", None, ("en",)),
        (E5, None, ()),
        ("BAAI/bge-m3", None, ()),
        (MINILM, ("hr",), ("hr",)),
        (E5, ("en",), ("en",)),
    ],
)
def test_which_languages_a_model_knows(model: str, languages: tuple[str, ...] | None, known: tuple[str, ...]) -> None:
    assert EmbeddingConfig(model=model, languages=languages).known_languages == known
