"""Bulk ingestion by the embedded default: its rate beside the embedder alone and a naive loop, its memory, and what
questions take beside it.

Each repeat takes documents of its own through all three ways in turns. The service is up for its own part only, so that
nothing else runs beside the others; what its idle processes take is seen by the embedder alone beside them. Rates are
in tokens of the embedded texts, counted here by the service's own code.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import httpx
import torch
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer

from benchmarks.gazette import croatian_words, gazette_page
from benchmarks.service import Service, report, running, watched
from deployments.embedding.config import EmbeddingConfig
from deployments.embedding.deployment import Embedding
from deployments.embedding.sentence_transformer import dtype
from deployments.inference.weights import locate
from deployments.inference.windows import untruncated
from deployments.ingestion.base import DocumentTask
from deployments.ingestion.chunking import split_into_chunks
from deployments.ingestion.config import IngestionConfig
from deployments.ingestion.parsers import Limits, parse
from deployments.ingestion.passages import EmbeddableText, chunk_size, embeddable_texts
from deployments.lexical import encode_passage
from deployments.retrieval.base import create
from deployments.retrieval.config import RetrievalConfig
from deployments.types import EmbedderInfo, IndexEntry, IndexGeneration
from rag.cli.configs import LOCAL_CONFIG, load_config

DEFAULT_DATA = Path(__file__).parents[2] / "shared" / "data" / "croatian-law"
GAZETTE_DOCUMENTS = 2_576
"""A year of the gazette."""
NAIVE_BATCH = 32
SWEEP = (256, 512, 1_024, 2_048, 4_096, 8_192)
"""Tokens in a forward pass of the embedder alone; the best of them is what the service is measured against."""
SWEEP_DOCUMENTS = 4
QUESTION_WORDS = 6
QUESTIONS_AT_ONCE = 64
QUESTION_TIMEOUT_S = 300
POLL_S = 1.0
MEMORY_POLL_S = 1.0
UPLOAD_FILES = 50
"""In one request: about 6 MB."""


@dataclass(frozen=True, slots=True)
class Page:
    """A document. `tokens` is how many the embedder reads of each of its passages."""

    name: str
    html: bytes
    tokens: Sequence[int]


@dataclass(frozen=True, slots=True)
class Repeat:
    """Tokens a second of each way, and the 95th percentile of questions' milliseconds without and with ingestion.

    `naive` computes in float32 as its library does by itself, `naive_same_dtype` as the service's embedder does.
    """

    service: float
    service_beside_questions: float
    embedder: float
    embedder_beside_idle_service: float
    naive: float
    naive_same_dtype: float
    questions_ms: float
    questions_beside_ms: float
    questions_failed: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="Croatian texts; else the shipped corpus")
    parser.add_argument("--documents", type=int, default=100, help="dealt out among the repeats")
    parser.add_argument("--repeats", type=int, default=5, help="0 leaves rates and questions out")
    parser.add_argument("--questions-s", type=float, default=30, help="of questions alone, in each repeat")
    parser.add_argument("--questions-rate", type=float, default=2, help="questions a second")
    parser.add_argument("--route", choices=["search", "query"], default="search", help="where questions go")
    parser.add_argument(
        "--memory", type=int, nargs=2, default=[100, 400], help="documents, few and many; 0 0: left out"
    )
    arguments = parser.parse_args()
    words = croatian_words(arguments.data)
    figures: dict[str, object] = {}
    if arguments.repeats:
        figures |= rates(words, arguments)
    if all(arguments.memory):
        figures |= memory(words, *arguments.memory)
    report(figures)


def rates(words: Sequence[str], arguments: argparse.Namespace) -> dict[str, object]:
    bench = asyncio.run(Bench.load())
    pages = [bench.page(number, gazette_page(number, words)) for number in range(arguments.documents)]
    best = max([(bench.embedder_alone(pages[:SWEEP_DOCUMENTS], tokens), tokens) for tokens in SWEEP])[1]
    repeats = []
    for number in range(arguments.repeats):
        mine = pages[number :: arguments.repeats]
        embedder = bench.embedder_alone(mine, best)
        naive = asyncio.run(bench.naive(mine, torch.float32))
        same = asyncio.run(bench.naive(mine, bench.dtype))
        print(f"repeat {number + 1}: embedder alone {embedder:.0f} tokens/s, naive {naive:.0f}, {same:.0f}", flush=True)
        served = by_service(bench, mine, best, words, arguments)
        repeats.append(Repeat(embedder=embedder, naive=naive, naive_same_dtype=same, **served))
        print(f"repeat {number + 1}: {repeats[-1]}", flush=True)

    def median(of: Callable[[Repeat], float], digits: int = 0) -> float:
        return round(statistics.median(map(of, repeats)), digits)

    tokens = statistics.mean(sum(page.tokens) for page in pages)
    return {
        "embed_utilisation": median(lambda run: run.service / run.embedder, 3),
        "embed_utilisation_beside_idle_service": median(lambda run: run.service / run.embedder_beside_idle_service, 3),
        "rate_ratio_vs_naive": median(lambda run: run.service / run.naive, 3),
        "rate_ratio_vs_naive_same_dtype": median(lambda run: run.service / run.naive_same_dtype, 3),
        "dtype": str(bench.dtype).removeprefix("torch."),
        "tokens_per_s": median(lambda run: run.service),
        "embedder_tokens_per_s": median(lambda run: run.embedder),
        "embedder_batch_tokens": best,
        "naive_tokens_per_s": median(lambda run: run.naive),
        "tokens_truncated": sum(max(0, one - bench.info.max_tokens) for page in pages for one in page.tokens),
        "gazette_minutes": round(GAZETTE_DOCUMENTS * tokens / median(lambda run: run.service) / 60, 1),
        "tokens_per_document": round(tokens),
        "chunks_per_document": round(statistics.mean(len(page.tokens) for page in pages), 1),
        "kb_per_document": round(statistics.mean(len(page.html) for page in pages) / 1_000),
        "query_p95_ms": median(lambda run: run.questions_ms),
        "queries_failed": sum(run.questions_failed for run in repeats),
        "query_p95_ratio": median(lambda run: run.questions_beside_ms / run.questions_ms, 2),
        "rate_kept": median(lambda run: run.service_beside_questions / run.service, 3),
    }


@dataclass(frozen=True, slots=True)
class Bench:
    """The parts that the service is made of, without the service."""

    threads: int
    info: EmbedderInfo
    tokenizer: Tokenizer
    dtype: torch.dtype

    @classmethod
    async def load(cls) -> Bench:
        threads = load_config(LOCAL_CONFIG).args.embedding.threads
        config = EmbeddingConfig(threads=threads)
        info = await Embedding(config).describe()
        return cls(threads, info, untruncated(info.tokenizer_json), dtype(config))

    @property
    def generation(self) -> IndexGeneration:
        return IndexGeneration(self.info.fingerprint, self.info.fingerprint, self.info.dimension)

    def page(self, number: int, html: bytes) -> Page:
        counts = [len(encoding) for encoding in self.tokenizer.encode_batch([text.text for text in self.texts(html)])]
        return Page(f"nn-{number}.html", html, counts)

    def texts(self, html: bytes) -> list[EmbeddableText]:
        """A page's passages as the service makes them."""
        config, tokenizer = IngestionConfig(), self.tokenizer
        task = DocumentTask("job", "default", "nn", "1", "", "default", "hr", "", "nn.html", "text/html", "blob")
        document = parse(
            html,
            task.filename,
            task.media_type,
            Limits(config.max_text_characters, config.max_inflation, config.max_pages),
        )
        size = chunk_size(self.info, tokenizer, config.chunk_tokens)
        chunks = split_into_chunks(document, tokenizer, chunk_tokens=size, overlap=config.chunk_overlap)
        return embeddable_texts(task, document.title, "hr", chunks, tokenizer, self.info.max_tokens)

    def embedder_alone(self, pages: Sequence[Page], batch_tokens: int) -> float:
        """Tokens a second of the embedding stage's own class, given everything at once, as it takes it.

        In a process of its own, which gives the model's memory back: Ray kills replicas when the machine has little.
        """
        texts = [text.text for page in pages for text in self.texts(page.html)]
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            seconds = process.submit(embedding_seconds, texts, self.threads, batch_tokens).result()
        return _tokens(pages) / seconds

    async def naive(self, pages: Sequence[Page], dtype: torch.dtype) -> float:
        """Tokens a second of a plain loop: parse, embed, insert, one document after the other."""
        config = EmbeddingConfig()
        model = SentenceTransformer(
            str(locate(config.model, None, "model")),
            device="cpu",
            local_files_only=True,
            model_kwargs={"dtype": dtype},
        )
        torch.get_num_threads()
        torch.set_num_threads(self.threads)
        model.encode(["warm up"])
        with tempfile.TemporaryDirectory(prefix="rag-naive-") as folder:
            index = create(RetrievalConfig(uri=str(Path(folder) / "index")))
            await index.open()
            began = time.perf_counter()
            for page in pages:
                texts = self.texts(page.html)
                vectors = model.encode(
                    [text.text for text in texts],
                    batch_size=NAIVE_BATCH,
                    prompt=model.prompts.get("passage"),
                    normalize_embeddings=True,
                    convert_to_tensor=True,
                )
                vectors = vectors.float().numpy()
                entries = [
                    IndexEntry(text.passage, dense, encode_passage(text.text, "hr"))
                    for text, dense in zip(texts, vectors, strict=True)
                ]
                await index.upsert(self.generation, entries)
            seconds = time.perf_counter() - began
            index.close()
        return _tokens(pages) / seconds


def embedding_seconds(texts: Sequence[str], threads: int, batch_tokens: int) -> float:
    config = EmbeddingConfig(threads=threads, batch_tokens=batch_tokens, batch_size=1_024)
    embedding = Embedding(config)

    async def embed() -> float:
        await embedding.embed(texts[:threads], "passage")
        began = time.perf_counter()
        for start in range(0, len(texts), config.max_texts):
            await embedding.embed(texts[start : start + config.max_texts], "passage")
        return time.perf_counter() - began

    return asyncio.run(embed())


def by_service(
    bench: Bench, pages: Sequence[Page], batch_tokens: int, words: Sequence[str], arguments: argparse.Namespace
) -> dict[str, Any]:
    asking = Questions(words, arguments.questions_rate, arguments.route)
    with running("--no-corpus") as service:
        service.wait_ready()
        beside_idle = bench.embedder_alone(pages, batch_tokens)
        ingest(service, pages[:1], "warm")
        seconds = ingest(service, pages, "alone")
        check_passages(service, "alone", pages)
        print(f"  service: {_tokens(pages) / seconds:.0f} tokens/s", flush=True)
        with asking.of(service) as alone:
            time.sleep(arguments.questions_s)
        print(f"  questions alone: {alone}", flush=True)
        with asking.of(service) as beside:
            seconds_beside = ingest(service, pages, "beside")
        print(f"  questions beside: {beside}", flush=True)
    return {
        "service": _tokens(pages) / seconds,
        "service_beside_questions": _tokens(pages) / seconds_beside,
        "embedder_beside_idle_service": beside_idle,
        "questions_ms": alone.p95(),
        "questions_beside_ms": beside.p95(),
        "questions_failed": alone.failed + beside.failed,
    }


def ingest(service: Service, pages: Sequence[Page], collection: str) -> float:
    """Seconds from the first request until all documents are indexed, which is asked seldom and told by the jobs."""
    began = datetime.now(UTC)
    ended = [began]
    with service.client() as client:
        jobs = []
        for start in range(0, len(pages), UPLOAD_FILES):
            files = [("files", (page.name, page.html, "text/html")) for page in pages[start : start + UPLOAD_FILES]]
            accepted = client.post("/v1/documents", files=files, data={"collection": collection, "language": "hr"})
            jobs.append(accepted.raise_for_status().headers["location"])
        for job in jobs:
            while (view := client.get(job).raise_for_status().json())["state"] in ("queued", "running"):
                time.sleep(POLL_S)
            if view["state"] != "succeeded":
                raise SystemExit(f"not indexed: {view['documents']}")
            ended.append(datetime.fromisoformat(view["updated_at"]))
    return (max(ended) - began).total_seconds()


def check_passages(service: Service, collection: str, pages: Sequence[Page]) -> None:
    """The tokens counted here are those of the service only if it cuts documents as this benchmark does."""
    with service.client() as client:
        held = client.get(f"/v1/collections/{collection}").raise_for_status().json()["passages"]
    if held != (made := sum(len(page.tokens) for page in pages)):
        raise SystemExit(f"the service made {held} passages of these documents, this benchmark {made}")


@dataclass(slots=True)
class Answers:
    """Milliseconds of each question from when it was due, refused ones too."""

    took: list[float] = field(default_factory=list)
    failed: int = 0

    def p95(self) -> float:
        return statistics.quantiles(self.took, n=20, method="inclusive")[-1]

    def __str__(self) -> str:
        return f"{len(self.took)}, median {statistics.median(self.took):.0f} ms, p95 {self.p95():.0f} ms"


@dataclass(frozen=True, slots=True)
class Questions:
    """So many questions a second, each when it is due, whether or not those before it are answered."""

    words: Sequence[str]
    rate: float
    route: str
    draw: random.Random = field(default_factory=lambda: random.Random(1))

    @contextmanager
    def of(self, service: Service) -> Iterator[Answers]:
        """Asks until the block ends, and waits for the answers."""
        answers, over = Answers(), threading.Event()
        with service.client(QUESTION_TIMEOUT_S) as client, ThreadPoolExecutor(QUESTIONS_AT_ONCE + 1) as threads:
            asking = threads.submit(self._ask_until, over, client, threads, answers)
            try:
                yield answers
            finally:
                over.set()
                asking.result()

    def _ask_until(
        self, over: threading.Event, client: httpx.Client, threads: ThreadPoolExecutor, answers: Answers
    ) -> None:
        due, asked = time.perf_counter(), []
        while not over.wait(max(0.0, due - time.perf_counter())):
            asked.append(threads.submit(self._ask, client, due, answers))
            due += 1 / self.rate
        for answered in asked:
            answered.result()

    def _ask(self, client: httpx.Client, due: float, answers: Answers) -> None:
        asked = {"query": " ".join(self.draw.choices(self.words, k=QUESTION_WORDS)), "language": "hr"}
        body = asked | ({"stream": False} if self.route == "query" else {})
        answer = client.post(f"/v1/{self.route}", json=body)
        answers.failed += not answer.is_success
        answers.took.append(1_000 * (time.perf_counter() - due))


def memory(words: Sequence[str], few: int, many: int) -> dict[str, object]:
    """The most memory that the service's processes held together while it took in `few` documents, and then `many`."""
    pages = [Page(f"nn-{number}.html", gazette_page(number, words), ()) for number in range(many)]
    peaks = []
    with running("--no-corpus") as service:
        service.wait_ready()
        with watched(service.rss_mb, MEMORY_POLL_S) as held:
            for batch in (pages[:few], pages[few:]):
                ingest(service, batch, "memory")
                peaks.append(max(held))
                print(f"memory: {peaks[-1]:.0f} MB", flush=True)
    return {
        "peak_rss_mb": round(peaks[0]),
        "peak_rss_many_mb": round(peaks[1]),
        "peak_rss_ratio": round(peaks[1] / peaks[0], 3),
        "memory_documents": [few, many],
    }


def _tokens(pages: Sequence[Page]) -> int:
    return sum(sum(page.tokens) for page in pages)


if __name__ == "__main__":
    main()
