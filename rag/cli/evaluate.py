"""`rag eval`: questions with known answers through the live service."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from rag.cli.errors import CliError
from rag.cli.ingest import progress_bars, send
from rag.cli.local_files import LocalFile
from rag.cli.service import DATA_DIR, DataDir, Key, Language, Service, Url, connect
from rag.evaluation.errors import EvaluationError

if TYPE_CHECKING:
    from rag.evaluation.asking import Configuration


def evaluate(
    context: typer.Context,
    questions: Annotated[
        Path,
        typer.Argument(
            help="A file of JSON lines with id, query, gold (documents, or articles such as act#art20) or key_facts, "
            "answerable; or a folder in BEIR's layout with queries.jsonl and qrels/*.tsv."
        ),
    ],
    collection: Annotated[
        list[str] | None, typer.Option("--collection", help="Ask of this collection only; repeatable.")
    ] = None,
    language: Language = None,
    filter: Annotated[str | None, typer.Option(help="Ask with this filter.")] = None,
    top_k: Annotated[
        int | None, typer.Option(min=1, help="Sources of an answer; by default the service's own number.")
    ] = None,
    depth: Annotated[
        int, typer.Option(min=0, help="Passages to search for nDCG, recall and MRR; 0: an answer's sources are ranked.")
    ] = 40,
    answers: Annotated[bool, typer.Option(help="Ask for answers, or for rankings only.")] = True,
    without_diacritics: Annotated[
        bool, typer.Option("--without-diacritics", help="Ask without diacritics: without č, ć, š, ž and đ.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Ask only this many questions, the first ones.")] = None,
    split: Annotated[str | None, typer.Option(help="Which qrels of a BEIR folder; by default test.")] = None,
    ingest: Annotated[bool, typer.Option("--ingest", help="First hand in a BEIR folder's corpus.jsonl.")] = False,
    compare_collection: Annotated[
        list[str] | None, typer.Option("--compare-collection", help="Compare with this collection; repeatable.")
    ] = None,
    compare_url: Annotated[str | None, typer.Option(help="Compare with the service at this address.")] = None,
    compare_key: Annotated[
        str | None,
        typer.Option(
            envvar="RAG_COMPARE_API_KEY", show_envvar=True, help="Its key; by default that of the first service."
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", dir_okay=False, help="Write all results to this file as JSON.")
    ] = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", dir_okay=False, help="Write the results as one HTML page.")
    ] = None,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Measure how the service finds and answers, on questions with known answers; also two services or collections
    side by side. Exit code 1 if it failed on a question."""
    # These import numpy, which other commands do without.
    from rag.evaluation.page import page
    from rag.evaluation.questions import read_questions
    from rag.evaluation.report import report
    from rag.evaluation.run import evaluate as run_all
    from rag.evaluation.terminal import show

    console = Console()
    common: dict[str, Any] = {"language": language, "filter": filter, "top_k": top_k}
    with _errors_of_one_line(), ExitStack() as opened:
        to_ask = read_questions(questions, split)[:limit]
        if without_diacritics:
            to_ask = [question.without_diacritics() for question in to_ask]
        service = opened.enter_context(connect(context, url, key, data_dir))
        if ingest:
            _ingest(service, questions, collection or [], language, console)
        targets = [(service, collection)]
        if compare_url:
            other = opened.enter_context(connect(context, compare_url, compare_key or key, data_dir))
            targets.append((other, compare_collection or collection))
        elif compare_collection:
            targets.append((service, compare_collection))
        by_url = len({target.url for target, _ in targets}) > 1
        configurations = [
            (target, _configuration(target.url if by_url else "", its_own, common, depth=depth, answers=answers))
            for target, its_own in targets
        ]
        with progress_bars(console) as bars:
            task = bars.add_task("asked", total=len(to_ask))
            runs = run_all(to_ask, configurations, on_question=lambda done: bars.update(task, completed=done))
    show(console, runs)
    if json_file:
        _write(json_file, json.dumps(report(runs), ensure_ascii=False, indent=2) + "\n")
    if html_file:
        _write(html_file, page(runs, f"Evaluation: {questions.name}"))
    if any(run.failures for run in runs):
        raise typer.Exit(1)


def _configuration(
    url: str, collections: Sequence[str] | None, common: dict[str, Any], *, depth: int, answers: bool
) -> Configuration:
    """A target's settings, named by its URL, if there are two, and by its collections."""
    from rag.evaluation.asking import Configuration

    given = {**common, "collections": list(collections) if collections else None}
    fields = {name: value for name, value in given.items() if value is not None}
    name = ", ".join([*([url] if url else []), *(collections or [])]) or "all collections"
    return Configuration(name, fields, depth=depth, answers=answers)


def _ingest(service: Service, folder: Path, collections: Sequence[str], language: str | None, console: Console) -> None:
    """A BEIR folder's documents, in the one collection that the questions are asked of."""
    from rag.evaluation.corpus import write_corpus

    if not folder.is_dir() or len(collections) != 1:
        raise CliError("--ingest needs a folder in BEIR's layout and one --collection to put its documents in")
    fields = {"collection": collections[0], **({"language": language} if language else {})}
    with tempfile.TemporaryDirectory(prefix="rag-eval-") as temporary, progress_bars(console) as bars:
        files = [LocalFile(file.path, file.name) for file in write_corpus(folder, Path(temporary))]
        task = bars.add_task("indexed", total=len(files))
        failures = send(service, files, fields, on_done=lambda count: bars.update(task, completed=count))
    if failures:
        raise CliError(
            f"{len(failures)} of {len(files)} documents failed, first {failures[0].name}: {failures[0].reason}"
        )


@contextmanager
def _errors_of_one_line() -> Iterator[None]:
    try:
        yield
    except EvaluationError as error:
        raise CliError(str(error)) from None


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise CliError(f"{path} cannot be written: {error.strerror}; name another file") from None
