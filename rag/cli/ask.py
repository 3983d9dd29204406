"""`rag ask` and `rag search`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.markup import escape

from rag.cli.errors import CliError
from rag.cli.service import DATA_DIR, STREAM_SILENCE_S, DataDir, Key, Language, Service, Url, connect, plain
from rag.cli.trace import await_trace, print_trace

Question = Annotated[str, typer.Argument(help="The question.")]
Collections = Annotated[list[str] | None, typer.Option("--collection", help="Search this collection only; repeatable.")]
User = Annotated[str | None, typer.Option(help="Also search this user's private documents.")]
Filter = Annotated[str | None, typer.Option(help="For example: metadata.year >= 2018 and language == 'hr'")]
TopK = Annotated[int | None, typer.Option(min=1, help="Passages to use.")]
Json = Annotated[bool, typer.Option("--json", help="Print the service's JSON.")]
Conversation = Annotated[
    bool, typer.Option("--conversation", help="Then read further questions, which follow on; an empty line ends it.")
]
Trace = Annotated[bool, typer.Option("--trace", help="Then show how long each stage took, as `rag trace` does.")]
TURNS_KEPT = 20
"""A question goes with so many of the turns before it: questions and answers. They fit into one request."""


def ask(
    context: typer.Context,
    question: Question,
    language: Language = None,
    collection: Collections = None,
    user: User = None,
    filter: Filter = None,
    top_k: TopK = None,
    as_json: Json = False,
    conversation: Conversation = False,
    trace: Trace = False,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Answer a question from the documents, and list the sources that the numbers in the answer point to."""
    body = _body(question, language, collection, user, filter, top_k)
    with connect(context, url, key, data_dir) as service:
        answer = _ask(service, body, as_json, trace)
        turns: list[dict[str, str]] = []
        while conversation and (following := _next_question()):
            turns += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            question = following
            answer = _ask(service, {**body, "query": question, "history": turns[-TURNS_KEPT:]}, as_json, trace)


def _ask(service: Service, body: Mapping[str, Any], as_json: bool, trace: bool) -> str:
    """Print the answer, and its trace if that is wanted. Returns its text."""
    if not as_json:
        text, query_id = _stream(service, body)
        if trace and (logged := _trace(service, query_id)):
            console = Console()
            console.print()
            print_trace(console, logged)
        return text
    found = service.call("POST", "/v1/query", json={**body, "stream": False})
    _print_json({**found, "trace": _trace(service, found["query_id"])} if trace else found)
    return str(found["answer"])


def _trace(service: Service, query_id: str) -> dict[str, Any] | None:
    """The trace of an answer. None, and a warning, where it cannot be had: the answer is no less worth for that."""
    try:
        return await_trace(service, query_id)
    except CliError as error:
        typer.echo(f"Warning: no trace of this answer: {error}", err=True)
        return None


def _next_question() -> str:
    """A line of standard input; empty at its end."""
    try:
        return input("\n> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return ""


def search(
    context: typer.Context,
    question: Question,
    language: Language = None,
    collection: Collections = None,
    user: User = None,
    filter: Filter = None,
    top_k: TopK = None,
    as_json: Json = False,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Show the passages that a question finds, without writing an answer."""
    with connect(context, url, key, data_dir) as service:
        found = service.call("POST", "/v1/search", json=_body(question, language, collection, user, filter, top_k))
    if as_json:
        _print_json(found)
        return
    console = Console()
    if not found["results"]:
        console.print("Nothing found.")
    for number, result in enumerate(found["results"], 1):
        console.print(_heading(number, result), highlight=False)
        console.print(f"{plain(result['text'])}\n", markup=False, highlight=False)


def _body(
    question: str,
    language: str | None,
    collections: list[str] | None,
    user: str | None,
    filter: str | None,
    top_k: int | None,
) -> dict[str, Any]:
    given = {
        "query": question,
        "language": language,
        "collections": collections,
        "user": user,
        "filter": filter,
        "top_k": top_k,
    }
    return {name: value for name, value in given.items() if value is not None}


def _stream(service: Service, body: Mapping[str, Any]) -> tuple[str, str]:
    """Print the answer as it comes; Ctrl-C stops it in the service too. Returns its text and the query's id."""
    from httpx_sse import EventSource

    console = Console()
    sources: list[dict[str, Any]] = []
    cited: set[str] = set()
    text = ""
    timeout = httpx.Timeout(STREAM_SILENCE_S, connect=5)
    query_id = ""
    try:
        with (
            service.reachable(),
            service.http.stream("POST", "/v1/query", json=dict(body), timeout=timeout) as response,
        ):
            service.check(response)
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                raise CliError(f"{service.url} answered something that is not a stream; check --url")
            query_id = response.headers.get("X-Query-ID", "")
            for message in _messages(EventSource(response)):
                match message["type"]:
                    case "sources":
                        sources = message["sources"]
                    case "chunk":
                        text += message["content"]
                        console.print(plain(message["content"]), end="", markup=False, highlight=False, soft_wrap=True)
                    case "citation":
                        cited.update(message["sources"])
                    case "error":
                        console.print()
                        again = "; ask again" if message["retryable"] else ""
                        raise CliError(f"{plain(message['error'])}{again}")
                    case "complete":
                        console.print("\n")
                        _print_sources(console, sources, cited, message)
                        _print_facts(console, message)
                        return text, query_id
        console.print()
        raise CliError("the answer broke off before its end; ask again")
    except KeyboardInterrupt:
        console.print()
        if query_id:
            with suppress(CliError):
                service.call("DELETE", f"/v1/query/{query_id}")
        raise


def _messages(events: Any) -> Iterator[dict[str, Any]]:
    for event in events.iter_sse():
        if not event.data:
            continue  # a heartbeat: httpx-sse makes an event of a comment that follows an id
        try:
            message = json.loads(event.data)
        except ValueError:
            raise CliError("the stream holds a message that cannot be read; ask again") from None
        yield message


def _print_sources(
    console: Console, sources: list[dict[str, Any]], cited: set[str], complete: Mapping[str, Any]
) -> None:
    """A line for each source, cited ones bright. Of an answer that says that there is none, nothing but their count."""
    if complete["finish_reason"] == "no_answer":
        found = f"{len(sources)} {'passage was' if len(sources) == 1 else 'passages were'} found"
        console.print(f"{found}; `rag search` with the same words shows them", style="dim", markup=False)
        return
    for number, source in enumerate(sources, 1):
        style = "" if source["id"] in cited else "dim"
        console.print(_heading(number, source), style=style, highlight=False)


def _print_facts(console: Console, complete: Mapping[str, Any]) -> None:
    by = " · ".join(plain(str(part)) for part in (complete["engine"], complete["model"]) if part)
    total = complete["timings"].get("total")
    took = f" in {total / 1000:.1f} s" if total is not None else ""
    degraded = f"; without {', '.join(complete['degraded'])}" if complete["degraded"] else ""
    confidence = complete.get("confidence")
    sure = f"; {confidence:.0%} sure" if confidence is not None else ""
    checked = _grounding(complete.get("grounding"))
    console.print(f"\nanswered by {by}{took}{sure}{checked}{degraded}", style="dim", markup=False, highlight=False)


def _grounding(grounding: Mapping[str, Any] | None) -> str:
    """How many of the answer's statements its sources support, where not all of them are."""
    if not grounding or grounding["share"] in (None, 1):
        return ""
    judged = grounding["supported"] + grounding["unsupported"] + grounding["uncited"]
    return f"; {grounding['supported']} of {judged} statements supported by their sources"


def _heading(number: int, result: Mapping[str, Any]) -> str:
    title, document = escape(plain(result["title"])), escape(plain(result["document_id"]))
    return f"[bold]{escape(f'[{number}]')} {title}[/bold]  {document}  [dim]{result['score']:.3f}[/dim]"


def _print_json(value: Mapping[str, Any]) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))
