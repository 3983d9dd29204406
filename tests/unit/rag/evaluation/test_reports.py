from __future__ import annotations

import json
from collections.abc import Callable
from html.parser import HTMLParser
from io import StringIO

import pytest
from rich.console import Console

from rag.evaluation.asking import Answer, Configuration, Reply, Source
from rag.evaluation.figures import MEANS
from rag.evaluation.measures import measure
from rag.evaluation.page import page
from rag.evaluation.questions import Question
from rag.evaluation.report import report
from rag.evaluation.run import Run
from rag.evaluation.terminal import show
from rag.evaluation.wording import LABELS

MakeQuestion = Callable[..., Question]
MakeSource = Callable[..., Source]
MakeAnswer = Callable[..., Answer]
NASTY = "</style><script>alert('č')</script>\x1b[31m\x00[bold]&amp;"


@pytest.fixture(name="runs")
def _runs(question: MakeQuestion, source: MakeSource, answer: MakeAnswer) -> list[Run]:
    """Two configurations: the second one finds the article first, the first one second. All texts are hostile."""
    right, wrong = source("a.md", "1", NASTY), source(NASTY, "2", NASTY)
    asked = [
        question("a#art1", f"gold {NASTY}", text=NASTY, id=f"<q1>{NASTY}", facts=[NASTY]),
        question(answerable=False, id="q2"),
    ]

    def run(name: str, *found: Source) -> Run:
        replies = [Reply(found, answer(NASTY, *found, cites=[1], confidence=0.5)), Reply(None, answer("ne"))]
        return Run(Configuration(name, {}), tuple(map(measure, asked, replies)))

    failed = Reply(failure=NASTY)
    first = run(f"first {NASTY}", wrong, right)
    first = Run(first.configuration, (first.measured[0], measure(asked[1], failed)))
    return [first, run("second", right, wrong)]


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [name for name, _ in attrs if name in ("src", "href", "onclick")]


def test_the_page_escapes_what_others_wrote(runs: list[Run]) -> None:
    html = page(runs, NASTY)
    tags = _Tags()
    tags.feed(html)
    assert "script" not in tags.tags
    assert tags.tags.count("style") == 1
    assert not tags.addresses
    assert html.count("</style>") == 1
    assert "alert('č')" in html
    assert "\x1b" not in html
    assert "\x00" not in html
    assert "&amp;amp;" in html
    assert "http://" not in html
    assert "default-src 'none'" in html


def test_the_page_shows_figures_and_questions(runs: list[Run], question: MakeQuestion) -> None:
    html = page(runs, "Evaluation")
    for text in ("nDCG@10", "difference", "Nothing answers it.", "first citation right", "a.md › Zakon › Članak 1."):
        assert text in html
    alone = page(runs[1:], "Evaluation")
    assert "difference" not in alone


def test_the_json_holds_all_of_it_and_no_nan(runs: list[Run]) -> None:
    body = json.loads(json.dumps(report(runs), allow_nan=False))
    first, second = body["configurations"]
    assert first["failures"] == {"q2": NASTY}
    assert second["failures"] == {}
    assert first["figures"]["mrr@10"]["value"] < second["figures"]["mrr@10"]["value"]
    assert body["differences"]["mrr@10"]["value"] > 0
    asked = body["questions"][0]
    assert asked["replies"][1]["ranked"][0] == "a#art1"
    assert asked["replies"][1]["confidence"] == 0.5
    assert asked["differences"]["mrr@10"] > 0
    assert "differences" not in report(runs[:1])


def test_the_terminal_shows_what_changed(runs: list[Run]) -> None:
    output = StringIO()
    show(Console(file=output, width=200, force_terminal=False), runs)
    text = output.getvalue()
    assert "\x1b" not in text
    assert "[bold]" in text  # not read as markup
    assert "nDCG@10" in text
    assert "Questions: 1 better, 0 worse, 1 the same" in text
    assert "q2 failed" in text


def test_every_figure_has_a_label() -> None:
    assert set(MEANS) <= set(LABELS)
