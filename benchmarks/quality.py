"""How well the embedded default finds and answers: Croatian questions about ten whole acts, asked over HTTP.

The acts are handed in as Markdown and as PDF, each to a service of its own, and all questions are asked, also as
they are typed without diacritics. Then the acts that answer a question are deleted, it is asked again as one that
nothing answers, and they are handed in again. Each `croatian_*`, `facts_*` and other figure is the worse of both.
`--scifact` also asks SciFact's questions, in English.

Then the questions in `questions/` are asked of one service, each in its collection. Each has one right document:
`outside_law_first` and `cross_language_first` count those that find it first.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.croatian_law import DEFAULT_DATA, render_pdf
from benchmarks.quality_ours import COLLECTIONS, documents_of, misses, questions_of, right_first
from benchmarks.service import report, running
from rag.cli.ingest import send
from rag.cli.local_files import LocalFile
from rag.cli.service import Service
from rag.evaluation.asking import Configuration
from rag.evaluation.corpus import write_corpus
from rag.evaluation.figures import figures
from rag.evaluation.measures import Measured
from rag.evaluation.page import page
from rag.evaluation.questions import Question, read_questions
from rag.evaluation.run import Run, evaluate
from rag.evaluation.terminal import show

Act = Mapping[str, Any]
COLLECTION = "law"
START_S = 600
"""A start takes half a minute; a machine that is busy with other things takes its time."""
LOWER_IS_BETTER = {"sources_ms_p50", "sources_characters", "failed"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    parser.add_argument("--kinds", nargs="+", choices=list(RENDERERS), default=list(RENDERERS))
    parser.add_argument("--scifact", action="store_true", help="also SciFact, which takes minutes to index")
    parser.add_argument("--scifact-data", type=Path, default=DEFAULT_DATA.parent / "scifact")
    parser.add_argument("--no-left-out", action="store_true", help="leave out the questions whose acts are deleted")
    parser.add_argument("--ours", choices=["also", "only", "no"], default="also", help="the questions in questions/")
    parser.add_argument("--pages", type=Path, help="write the runs as HTML pages to this folder")
    arguments = parser.parse_args()
    found: dict[str, float] = {}
    if arguments.ours != "only":
        found |= law_figures(arguments)
        if arguments.scifact:
            run = scifact_run(arguments.scifact_data)
            show_and_keep([run], "scifact", arguments.pages)
            found["scifact_ndcg10"] = round(figures(run.measured)["ndcg@10"].value, 4)
    if arguments.ours != "no":
        for run in ours_runs():
            name = run.configuration.name
            show_and_keep([run], "ours", arguments.pages)
            for line in misses(run):
                print(line, flush=True)
            found[f"{name}_first"] = right_first(run)
    report(found)


def law_figures(arguments: argparse.Namespace) -> dict[str, float]:
    """Of each figure the worse of the kinds of files."""
    acts = read_acts(arguments.data)
    questions = read_questions(arguments.data / "questions.jsonl")
    found: dict[str, dict[str, float]] = {}
    for kind in arguments.kinds:
        with files_of(acts, kind) as files, client_of_new_service() as service:
            runs = croatian_runs(service, files, questions, left_out=not arguments.no_left_out)
        found[kind] = croatian_figures(*runs)
        show_and_keep(runs, f"croatian-{kind}", arguments.pages)
        print(json.dumps({kind: found[kind]}), flush=True)
    return {name: worse_of(name, [by_kind[name] for by_kind in found.values()]) for name in next(iter(found.values()))}


def read_acts(folder: Path) -> list[Act]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]


@contextmanager
def client_of_new_service(*arguments: str, data_dir: Path | None = None) -> Iterator[Service]:
    """`rag up` with `arguments`, on an empty data folder or the given one."""
    with running("--no-corpus", *arguments, data_dir=data_dir) as started:
        started.wait_ready(START_S)
        with Service(started.url, started.key()) as service:
            yield service


def croatian_runs(
    service: Service, files: Mapping[str, LocalFile], questions: Sequence[Question], *, left_out: bool
) -> list[Run]:
    """The questions as they are, without diacritics, and of what was deleted before. `files`: by act."""
    hand_in(service, list(files.values()), "hr")
    asked = Configuration("as written", {"collections": [COLLECTION]})
    plainly = [question.without_diacritics() for question in questions if question.gold]
    runs = [
        *evaluate(questions, [(service, asked)]),
        *evaluate(plainly, [(service, replace(asked, name="without diacritics", answers=False))]),
    ]
    if left_out:
        runs.append(left_out_run(service, files, questions))
    return runs


def left_out_run(service: Service, files: Mapping[str, LocalFile], questions: Sequence[Question]) -> Run:
    """Each question that has an answer, while the acts that answer it are deleted."""
    by_acts: dict[frozenset[str], list[Question]] = defaultdict(list)
    for question in questions:
        if question.gold:
            acts = frozenset(gold.document for gold in question.gold)
            by_acts[acts].append(Question(f"{question.id} left out", question.text, {}, answerable=False))
    configuration = Configuration("its acts left out", {"collections": [COLLECTION]})
    measured: list[Measured] = []
    for acts, unanswerable in by_acts.items():
        deleted = [files[act] for act in sorted(acts)]
        for file in deleted:
            delete(service, file)
        measured += evaluate(unanswerable, [(service, configuration)])[0].measured
        hand_in(service, deleted, "hr")
    return Run(configuration, tuple(measured))


def croatian_figures(written: Run, plainly: Run, left_out: Run | None = None) -> dict[str, float]:
    shares = {name: figure.value for name, figure in figures(written.measured).items()}
    found = {
        "croatian_ndcg10": round(shares["ndcg@10"], 4),
        "croatian_recall10": round(shares["recall@10"], 4),
        "croatian_ascii_ndcg10": round(figures(plainly.measured)["ndcg@10"].value, 4),
        **{name: count(written, name) for name in ("facts_in_sources", "facts_in_first_three", "facts_in_answer")},
        "answered": count(written, "answered"),
        "first_citation_right": round(shares.get("first_citation_right", 0.0), 4),
    }
    refusals = figures([*written.measured, *(left_out.measured if left_out else ())])
    found["answerability_auc"] = round(refusals["answering_auc"].value, 4)
    found["answerability_balanced_accuracy"] = round(refusals["balanced_accuracy"].value, 4)
    found["sources_ms_p50"] = round(shares["sources_ms_p50"], 1)
    found["sources_characters"] = max(
        sum(len(source.text) for source in one.reply.answer.sources) for one in written.measured if one.reply.answer
    )
    found["failed"] = sum(len(run.failures) for run in (written, plainly, left_out) if run)
    return found


def scifact_run(folder: Path) -> Run:
    questions = read_questions(folder)
    configuration = Configuration("SciFact", {"collections": [COLLECTION]}, answers=False)
    with tempfile.TemporaryDirectory(prefix="rag-quality-") as temporary, client_of_new_service() as service:
        files = [LocalFile(file.path, file.name) for file in write_corpus(folder, Path(temporary))]
        hand_in(service, files, "en")
        return evaluate(questions, [(service, configuration)])[0]


def ours_runs() -> list[Run]:
    """A run for each collection, named as it is. Languages are told by the service from the texts."""
    runs: list[Run] = []
    with client_of_new_service() as service:
        for name in COLLECTIONS:
            hand_in(service, documents_of(name), collection=name)
            configuration = Configuration(name, {"collections": [name]}, answers=False)
            runs += evaluate(questions_of(name), [(service, configuration)])
    return runs


def hand_in(
    service: Service, files: Sequence[LocalFile], language: str | None = None, collection: str = COLLECTION
) -> None:
    """Returns when they are indexed. `language`: left out, the service tells it from the text."""
    fields = {"collection": collection} | ({"language": language} if language else {})
    failures = send(service, files, fields)
    if failures:
        raise RuntimeError(f"{len(failures)} documents failed, first {failures[0].name}: {failures[0].reason}")


def delete(service: Service, file: LocalFile) -> None:
    selection = {"collection": COLLECTION, "filter": f"document_id == {json.dumps(f'{COLLECTION}/{file.name}')}"}
    deleted = service.call("POST", "/v1/documents/delete", json=selection)["deleted"]
    if deleted != 1:
        raise RuntimeError(f"{deleted} documents were deleted as {file.name}, not one")


def worse_of(name: str, values: Sequence[float]) -> float:
    return max(values) if name in LOWER_IS_BETTER else min(values)


def count(run: Run, name: str) -> int:
    """Of how many questions a measure is 1."""
    return sum(one.values.get(name) == 1 for one in run.measured)


def show_and_keep(runs: Sequence[Run], name: str, folder: Path | None) -> None:
    console = Console(width=120)
    for run in runs:
        console.print(f"{name}: {run.configuration.name}")
        show(console, [run])
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            title = f"{name}, {run.configuration.name}"
            (folder / f"{title.replace(', ', '-').replace(' ', '-')}.html").write_text(page([run], title), "utf-8")


@contextmanager
def files_of(acts: Sequence[Act], kind: str) -> Iterator[dict[str, LocalFile]]:
    """Each act as a file, by the act's id, which is also the document's id but for its suffix."""
    with tempfile.TemporaryDirectory(prefix="rag-quality-") as folder:
        files: dict[str, LocalFile] = {}
        for act in acts:
            path = Path(folder) / f"{act['id']}.{kind}"
            RENDERERS[kind](act, path)
            files[act["id"]] = LocalFile(path, path.name)
        yield files


def render_markdown(act: Act, path: Path) -> None:
    provisions = [f"## {provision['title']}\n\n{provision['content']}\n" for provision in act["provisions"]]
    path.write_text("\n".join([f"# {act['title']}\n", *provisions]), encoding="utf-8")


RENDERERS: Mapping[str, Callable[[Any, Path], None]] = {"md": render_markdown, "pdf": render_pdf}


if __name__ == "__main__":
    main()
