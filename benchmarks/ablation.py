"""What each step of the embedded default gives, over HTTP: its figures, their 95 % intervals, and milliseconds.

The ten Croatian acts are handed in once as Markdown, to the shipped configuration. Then a service is started on the
same data for each step, and asked all questions: as they are, and typed without diacritics. `gain` is nDCG@10 over an
earlier step, of the same resampled questions. MiniLM, the former embedder, has an index of its own and comes first.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from benchmarks.croatian_law import DEFAULT_DATA
from benchmarks.quality import COLLECTION, client_of_new_service, files_of, hand_in, read_acts
from benchmarks.service import PREFIX, report
from rag.cli.configs import LOCAL_CONFIG
from rag.cli.service import Service
from rag.evaluation.asking import Configuration
from rag.evaluation.figures import Difference, Figure, differences, figures
from rag.evaluation.measures import Measured
from rag.evaluation.questions import Question, read_questions
from rag.evaluation.run import evaluate
from serve_app.config.file import load

Settings = Mapping[str, Mapping[str, Any]]
"""By stage, those that differ from the shipped ones."""


@dataclass(frozen=True, slots=True)
class Step:
    """`over`: the step that its gain is measured against."""

    name: str
    settings: Settings
    over: str | None


PARTS_ONLY: Settings = {"query": {"max_section_characters": 0}}
FORMER = Step(
    "MiniLM and terms",
    {**PARTS_ONLY, "embedding": {"model": "all-MiniLM-L6-v2"}, "retrieval": {"late_weight": 0}},
    over=None,
)
STEPS = (
    Step("e5 alone", {**PARTS_ONLY, "retrieval": {"dense_weight": 1, "late_weight": 0}}, over=FORMER.name),
    Step("terms alone", {**PARTS_ONLY, "retrieval": {"dense_weight": 0, "late_weight": 0}}, over=FORMER.name),
    Step("e5 and terms", {**PARTS_ONLY, "retrieval": {"late_weight": 0}}, over="e5 alone"),
    Step("late interaction", PARTS_ONLY, over="e5 and terms"),
    Step("whole sections, as shipped", {}, over="late interaction"),
)
MEASURES = ("ndcg@10", "recall@10", "facts_in_sources", "facts_in_first_three", "facts_in_answer")


@dataclass(frozen=True, slots=True)
class Asked:
    """The questions as they are written, and typed without diacritics."""

    written: Sequence[Measured]
    plainly: Sequence[Measured]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    arguments = parser.parse_args()
    questions = read_questions(arguments.data / "questions.jsonl")
    asked: dict[str, Asked] = {}
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder, files_of(read_acts(arguments.data), "md") as files:
        with service_with(FORMER.settings, Path(folder) / "former") as service:
            hand_in(service, list(files.values()), "hr")
            asked[FORMER.name] = ask(service, questions)
        data = Path(folder) / "shipped"
        with service_with({}, data) as service:
            hand_in(service, list(files.values()), "hr")
        for step in STEPS:
            with service_with(step.settings, data) as service:
                asked[step.name] = ask(service, questions)
    report({step.name: show(step, asked) for step in (FORMER, *STEPS)})


@contextmanager
def service_with(settings: Settings, data_dir: Path) -> Iterator[Service]:
    """A service of the shipped configuration, with some settings changed."""
    raw = deepcopy(load(LOCAL_CONFIG).raw)
    args = raw["applications"][0]["args"]
    for stage, changed in settings.items():
        args[stage] = {**args.get(stage, {}), **changed}
    data_dir.mkdir(exist_ok=True)
    config = data_dir.with_suffix(".yaml")
    config.write_text(yaml.safe_dump(raw), encoding="utf-8")
    with client_of_new_service("--config", str(config), data_dir=data_dir) as service:
        yield service


def ask(service: Service, questions: Sequence[Question]) -> Asked:
    configuration = Configuration("as written", {"collections": [COLLECTION]})
    plainly = [question.without_diacritics() for question in questions if question.gold]
    [written] = evaluate(questions, [(service, configuration)])
    [plain] = evaluate(plainly, [(service, replace(configuration, answers=False))])
    return Asked(written.measured, plain.measured)


def show(step: Step, asked: Mapping[str, Asked]) -> dict[str, list[float]]:
    """Each figure with the bounds of its interval, and the median milliseconds until the sources."""
    now = asked[step.name]
    found = figures(now.written)
    row = {measure: rounded(found[measure]) for measure in MEASURES}
    row["ascii_ndcg@10"] = rounded(figures(now.plainly)["ndcg@10"])
    if step.over:
        row["gain"] = rounded(differences(asked[step.over].written, now.written)["ndcg@10"])
    row["sources_ms_p50"] = [round(found["sources_ms_p50"].value, 1)]
    print(f"{step.name}: {row}", flush=True)
    return row


def rounded(figure: Figure | Difference) -> list[float]:
    return [round(figure.value, 3), round(figure.low, 3), round(figure.high, 3)]


if __name__ == "__main__":
    main()
