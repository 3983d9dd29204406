"""`rag up`: start a Ray node, a config file's application and its documentation corpus; stop all of it at the end."""

from __future__ import annotations

import copy
import importlib
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack, redirect_stdout, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import httpx
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cluster import session_logs
from cluster.ports import free_ports, is_free
from rag.cli.configs import LOCAL_CONFIG, load_config
from rag.cli.errors import CliError
from rag.cli.local_prometheus import check_installed, local_prometheus
from rag.cli.node_watch import NodeWatch
from rag.cli.service_file import KEY, RAY_TOKEN, RunningService, owned, remove_leftovers
from rag.cli.signals import STOP_S, Signals
from rag.cli.stages import Stage, stage

if TYPE_CHECKING:
    from rag.cli.ingest import Failed
    from serve_app.config.args import AppArgs

CORPUS = Path(__file__).parents[2] / "corpus"
CORPUS_COLLECTION = "rag-docs"
FORMER_INDEX = "milvus.db"
"""Where earlier releases kept the index of the embedded default, in the data folder."""
SHUTDOWN_S = 5.0
"""How long replicas may take to finish and close their stores before their processes are killed; see --drain."""
POLL_S = 0.3
_REACHED_AT = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def up(
    config: Annotated[Path, typer.Option(help="Config file to start from.")] = LOCAL_CONFIG,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="HTTP port instead of the file's.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Data folder instead of the file's.")] = None,
    corpus: Annotated[bool, typer.Option(help="Index the documents about this service.")] = True,
    start_timeout: Annotated[float, typer.Option(min=1, help="Seconds that the deployments may take to start.")] = 1800,
    haproxy: Annotated[
        bool, typer.Option("--haproxy", help="Put HAProxy in front, for load. Its statistics are open to the network.")
    ] = False,
    prometheus: Annotated[
        bool, typer.Option("--prometheus", help="Start the Prometheus that is installed, with the alerts.")
    ] = False,
    drain: Annotated[
        float,
        typer.Option(min=SHUTDOWN_S, help="Seconds that answers under way have to end when the service is stopped."),
    ] = SHUTDOWN_S,
) -> None:
    """Start the service on this machine and keep it until Ctrl-C."""
    from cluster import node as ray_node

    ray_node.set_flags(haproxy=haproxy)  # before anything imports ray
    console, signals = Console(file=sys.stdout), Signals(ray_node.kill, STOP_S + drain)
    watch, serving = NodeWatch(), False

    def begin(title: str) -> AbstractContextManager[Stage]:
        signals.check()
        return stage(console, title)

    with ExitStack() as resources:
        try:
            with begin("Configuration") as current_stage:
                file = load_config(config, data_dir)
                current_stage.result = str(config)
            folder = file.args.data_path
            resources.enter_context(owned(folder))
            signals.when_killed(partial(remove_leftovers, folder))
            if prometheus:
                check_installed()
            raw, url = _on_free_port(file.raw, port, console)
            with begin("Models") as current_stage:
                current_stage.result = _check_models(file.args)
            former = _set_former_index_aside(file.args)
            # Ray prints news of dying workers whatever its settings. The terminal is for the stages.
            output = resources.enter_context(session_logs.output_of_session(folder))
            resources.enter_context(redirect_stdout(output))
            background = resources.enter_context(ThreadPoolExecutor(1))
            stopped = threading.Event()
            resources.callback(stopped.set)  # else leaving the executor would wait for the documents
            keys = background.submit(_prepare_database, file.args)
            threading.Thread(target=_import_graph, args=[keys], name="import of the graph").start()
            with begin("Ray node") as current_stage:
                importlib.import_module("ray")
                signals.check()
                node = resources.enter_context(ray_node.owned_node(folder / RAY_TOKEN, folder))
                signals.install()  # ray.init has put its own in place
                current_stage.result = f"{os.cpu_count()} cores"
            resources.enter_context(watch.watching(node))
            with begin("Database and key") as current_stage:
                key_file = keys.result()
                current_stage.result = str(key_file or file.args.store.url)
            documents: Future[tuple[int, list[Failed]]] | None = None
            with begin("Deployments") as current_stage:
                for name in _deploy(raw, current_stage, signals, resources, start_timeout, drain):
                    # Documents are parsed while the embedder still loads; the job waits for it.
                    if name == "ingress" and corpus and key_file:
                        documents = background.submit(_ingest_corpus, url, key_file, start_timeout, stopped)
            with begin("HTTP") as current_stage:
                ready = _ready(url, current_stage, signals, start_timeout)
                current_stage.result = url
            if documents is not None:
                with begin("Documents about this service") as current_stage:
                    count, failures = documents.result()
                    for failed in failures:
                        current_stage.line(f"{failed.name}: {failed.reason}")
                    current_stage.result = f"{count} in collection {CORPUS_COLLECTION}"
            if former is not None:
                _replace_former_index(former, url, key_file, console)
            if key_file:
                with begin("Index") as current_stage:
                    current_stage.result = _index_state(url, key_file)
            if prometheus:
                with begin("Prometheus") as current_stage:
                    current_stage.result = resources.enter_context(local_prometheus(file.args, url))
            with begin("Ray dashboard") as current_stage:
                current_stage.result = dashboard_url = node.start_dashboard()
            RunningService(url, str(key_file) if key_file else None, os.getpid(), str(node.folder)).write(folder)
            _final_screen(console, url, key_file, dashboard_url, folder / RAY_TOKEN, ready)
            serving = True
            _wait(signals)
        except KeyboardInterrupt:
            if watch.end:
                raise CliError(watch.end) from None
            console.print("\nStopping …")
        finally:
            signals.stopping()
    console.print("Stopped.")
    _leave(0 if serving else 130)


def _import_graph(after: Future[Any]) -> None:
    """Import the whole graph, which takes seconds, while the Ray node starts."""
    with suppress(Exception):  # the deployment imports it again, and is told
        wait([after])
        importlib.import_module("cluster.application")


def _leave(code: int) -> NoReturn:
    """End this process now that all it had started has ended.

    Python itself would wait for an import that is under way, and Ray for a node that is gone.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _on_free_port(raw: Mapping[str, Any], port: int | None, console: Console) -> tuple[dict[str, Any], str]:
    """The file's content with a free port, and the URL of the service."""
    options = dict(raw["http_options"])
    host: str = options["host"]
    wanted: int = port or options.get("port", 8000)
    options["port"] = wanted
    if not is_free(host, wanted):
        if port is not None:
            raise CliError(f"--port {port} is in use on {host}; name another, or leave it out and a free one is taken")
        [options["port"]] = free_ports(1, host)
        console.print(f"  Port {wanted} is in use; taking {options['port']}.", style="yellow", highlight=False)
    reached = _REACHED_AT.get(host, host)
    reached = f"[{reached}]" if ":" in reached else reached
    return {**copy.deepcopy(dict(raw)), "http_options": options}, f"http://{reached}:{options['port']}"


def _check_models(args: AppArgs) -> str:
    """The models of the stages that load them at once are on this machine."""
    from deployments.errors import StageUnavailable
    from deployments.inference.weights import locate

    try:
        for name, stage_config in (("embedding", args.embedding), ("reranking", args.reranking)):
            if stage_config.backend != "fake":
                locate(stage_config.model, stage_config.revision, f"{name}.model")
    except StageUnavailable as error:
        raise CliError(str(error)) from None
    if args.retrieval.embedded:
        _check_index(args)
    return f"{args.embedding.model}, {args.reranking.model}"


def _check_index(args: AppArgs) -> None:
    """Raises CliError if the index's folder has something else in it."""
    from deployments.errors import StageUnavailable
    from deployments.retrieval.embedded.folder import check_folder

    try:
        check_folder(Path(args.resolved().retrieval.uri))
    except StageUnavailable as error:
        raise CliError(str(error)) from None


def _set_former_index_aside(args: AppArgs) -> Path | None:
    """Rename an earlier release's index, which this one does not read.

    Returns where it is kept, also if an earlier start renamed it; None if there is none.
    """
    from deployments.retrieval.embedded.folder import set_former_aside

    if not args.retrieval.embedded:
        return None
    return set_former_aside(Path(args.resolved().retrieval.uri), args.data_path / FORMER_INDEX)


def _replace_former_index(kept: Path, url: str, key_file: Path | None, console: Console) -> None:
    """Index an earlier release's documents again from their stored bytes. Without a key, say how that is done.

    What fails is shown. The service goes on: without it nobody could delete the documents that failed.
    """
    reason = f"An earlier release's index is kept in {kept}."
    if key_file is None:
        hint = "If `rag status` finds passages missing, `rag reindex` indexes a tenant's documents again."
        console.print(f"  {reason} {hint}", highlight=False, markup=False)
        return
    from rag.cli.reindex import fill_lost_index
    from rag.cli.service import Service

    with Service(url, key_file.read_text(encoding="ascii").strip()) as service:
        try:
            fill_lost_index(service, reason, console)
        except CliError as error:
            console.print(f"  {error}", style="yellow", highlight=False, markup=False)


def _prepare_database(args: AppArgs) -> Path | None:
    """Migrate. For an embedded database, also make the key that the commands use; returns the key's file."""
    import asyncio

    from rag.cli.keys import local_key, migrate

    resolved = args.resolved()
    if not args.store.embedded:
        asyncio.run(migrate(resolved.store))
        return None
    key_file = args.data_path / KEY
    asyncio.run(local_key(resolved.store, key_file))
    return key_file


def _deploy(
    raw: Mapping[str, Any],
    current_stage: Stage,
    signals: Signals,
    resources: ExitStack,
    timeout_s: float,
    drain_s: float,
) -> Iterator[str]:
    """Start the application; yields the name of each deployment as it comes up. Raises CliError with Serve's reason."""
    from cluster.application import STARTED, Application

    current_stage.now("starting Serve")
    application = Application.deploy(raw)
    resources.callback(application.shut_down, drain_s)
    give_up_at = time.monotonic() + timeout_s
    started: set[str] = set()
    while True:
        signals.check()
        progress = application.progress()
        if progress.failure:
            raise CliError(f"the deployments failed to start:\n{progress.failure.strip()}")
        for name, (state, _) in progress.deployments.items():
            if state == STARTED and name not in started:
                started.add(name)
                current_stage.line(f"{name} is up")
                yield name
        if progress.running:
            return
        waiting = {n: message for n, (_, message) in progress.deployments.items() if n not in started}
        current_stage.now("waiting for " + (", ".join(waiting) if waiting else "the application to be built"))
        if time.monotonic() > give_up_at:
            reasons = "\n".join(f"  {name}: {message or 'no reason given'}" for name, message in waiting.items())
            raise CliError(f"not up after {timeout_s:.0f} s (--start-timeout):\n{reasons}")
        time.sleep(POLL_S)


def _ready(url: str, current_stage: Stage, signals: Signals, timeout_s: float) -> dict[str, Any]:
    """The answer of /readyz once every stage is ready. Raises CliError after `timeout_s`."""
    give_up_at = time.monotonic() + timeout_s
    reason = "no answer"
    with httpx.Client(base_url=url, timeout=10, trust_env=False, verify=False) as http:
        while True:
            signals.check()
            try:
                response = http.get("/readyz")
                view: dict[str, Any] = response.json()
                if response.status_code == 200:
                    return view
                reason = ", ".join(f"{n}: {s['detail']}" for n, s in view["stages"].items() if not s["ready"])
            except (httpx.HTTPError, ValueError, KeyError, AttributeError) as error:
                reason = str(error) or type(error).__name__
            if time.monotonic() > give_up_at:
                raise CliError(f"{url}/readyz is not ready after {timeout_s:.0f} s: {reason}")
            current_stage.now(f"waiting for {url}/readyz: {reason}")
            time.sleep(POLL_S)


def _wait_for_http(url: str, timeout_s: float, stopped: threading.Event) -> None:
    """Return once the service answers at all, is stopped, or after `timeout_s`.

    HAProxy may listen only after the ingress is up.
    """
    give_up_at = time.monotonic() + timeout_s
    with httpx.Client(base_url=url, timeout=10, trust_env=False, verify=False) as http:
        while time.monotonic() < give_up_at:
            with suppress(httpx.HTTPError):
                if http.get("/healthz").is_success:
                    return
            if stopped.wait(POLL_S):
                return


def _ingest_corpus(url: str, key_file: Path, timeout_s: float, stopped: threading.Event) -> tuple[int, list[Failed]]:
    """Send the documents that ship with the project, as any client would. Unchanged ones cause no work."""
    from rag.cli.ingest import send
    from rag.cli.local_files import LocalFile
    from rag.cli.service import Service

    _wait_for_http(url, timeout_s, stopped)
    count = 0
    failures: list[Failed] = []
    with Service(url, key_file.read_text(encoding="ascii").strip()) as service:
        for language in ("hr", "en"):
            documents = [
                LocalFile(path, f"{language}/{path.name}") for path in sorted((CORPUS / language).glob("*.md"))
            ]
            count += len(documents)
            failures += send(service, documents, {"collection": CORPUS_COLLECTION, "language": language})
    return count, failures


def _index_state(url: str, key_file: Path) -> str:
    """How many documents are behind, as after a change of the embedder, and what to do about it."""
    from rag.cli.service import Service
    from rag.cli.status import index_state

    with Service(url, key_file.read_text(encoding="ascii").strip()) as service:
        return index_state(service) or ""


def _final_screen(
    console: Console, url: str, key_file: Path | None, dashboard_url: str, token_file: Path, ready: Mapping[str, Any]
) -> None:
    rag = "rag" if shutil.which("rag") == sys.argv[0] else os.path.relpath(sys.argv[0])
    facts = Table.grid(padding=(0, 2))
    key_row = key_file.read_text(encoding="ascii").strip() if key_file else "make one: rag keys create --config FILE"
    facts.add_row("Service", f"[bold]{url}[/bold]")
    facts.add_row("API page", f"{url}/docs")
    facts.add_row("Key", escape(key_row))
    if key_file:
        facts.add_row("", f"[dim]kept in {escape(str(key_file))}[/dim]")
    facts.add_row("Ray dashboard", dashboard_url)
    facts.add_row("", f"[dim]log in with the token in[/dim] {escape(str(token_file))}")
    for name, serves in ready["stages"].items():
        facts.add_row(name.capitalize(), escape(" · ".join(str(v) for v in (serves["engine"], serves["model"]) if v)))
    console.print()
    console.print(facts, highlight=False, soft_wrap=True)
    console.print("\nTry, in another terminal:", highlight=False)
    tries = f'  {rag} ask "Koliko dugo se čuvaju dokumenti?"\n  {rag} ingest PATH'
    console.print(tries, style="bold", highlight=False, markup=False)
    console.print("\nCtrl-C stops everything.", highlight=False)


def _wait(signals: Signals) -> None:
    """Raises KeyboardInterrupt in the end."""
    while True:
        signals.check()
        time.sleep(1)
