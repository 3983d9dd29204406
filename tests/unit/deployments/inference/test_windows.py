from __future__ import annotations

import pytest
from tokenizers import Tokenizer

from deployments.inference import windows
from deployments.inference.weights import locate


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return windows.untruncated((locate("all-MiniLM-L6-v2", None, "test") / "tokenizer.json").read_text("utf-8"))


def tokens(tokenizer: Tokenizer, text: str) -> int:
    return len(tokenizer.encode(text, add_special_tokens=False).ids)


def test_the_files_truncation_and_padding_are_off(tokenizer: Tokenizer) -> None:
    assert tokenizer.truncation is None
    assert tokenizer.padding is None


def test_a_text_that_fits_stays_whole(tokenizer: Tokenizer) -> None:
    assert windows.split_into_windows(tokenizer, ["one two three", ""], 3) == [
        [windows.Window("one two three", 3)],
        [windows.Window("", 0)],
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Rok za žalbu je petnaest dana od dostave rješenja. " * 40,
        "no_spaces_at_all" * 200,
        "漢字かな交じり文" * 100,
        "👩‍👩‍👧‍👦 🇭🇷 " * 60,
        "word\n\n\t" * 300,
    ],
)
@pytest.mark.parametrize("prompt", ["", "query: "])
def test_windows_follow_each_other_and_each_fits(tokenizer: Tokenizer, text: str, prompt: str) -> None:
    (found,) = windows.split_into_windows(tokenizer, [text], 50, prompt)
    assert "".join(window.text for window in found) == text
    assert len(found) > 1
    for window in found:
        assert tokens(tokenizer, prompt + window.text) <= 50
        assert window.tokens == tokens(tokenizer, prompt + window.text) - tokens(tokenizer, prompt)


def test_a_window_starts_with_a_word(tokenizer: Tokenizer) -> None:
    (found,) = windows.split_into_windows(tokenizer, ["unbelievable misunderstandings " * 50], 20)
    assert all(window.text.startswith(("unbelievable", "misunderstandings")) for window in found)


def test_a_prompt_takes_room_from_every_window(tokenizer: Tokenizer) -> None:
    text = "one two three four five six seven eight"
    (bare,) = windows.split_into_windows(tokenizer, [text], 8)
    (prompted,) = windows.split_into_windows(tokenizer, [text], 8, "a b c d ")
    assert (len(bare), len(prompted)) == (1, 2)
