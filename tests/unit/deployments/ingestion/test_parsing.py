from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from deployments.errors import BrokenDocument, DocumentTooLarge, StageUnavailable, UnsupportedDocument
from deployments.ingestion.config import IngestionConfig
from deployments.ingestion.omissions import MAX_COUNT
from deployments.ingestion.parsers import child
from deployments.ingestion.parsing import DocumentParser
from tests.support.documents import make_docx, make_epub, make_pdf, make_pptx, make_xlsx
from tests.support.waiting import until

INJECTED = """
import ctypes, os, signal, sys, time
from deployments.ingestion.base import ParsedDocument
from deployments.ingestion.parsers import parse

def misbehave(data, filename, media_type, limits):
    match data:
        case b"hang":
            time.sleep(600)
        case b"hang in C":
            ctypes.PyDLL(None).sleep(600)  # holds the interpreter's lock
        case b"eat memory":
            hog = [bytearray(10**7) for _ in range(10**6)]
        case b"crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case b"die from outside":
            os.kill(os.getpid(), signal.SIGKILL)
        case b"raise":
            raise ValueError("a parser's defect")
        case b"leak":
            sys.leaked = bytearray(200 * 2**20)
        case b"modules":
            for kind in ("pdf", "docx", "pptx", "xlsx", "epub", "delimited", "eml", "html", "text"):
                __import__("deployments.ingestion.parsers." + kind)
            return ParsedDocument("", " ".join(name for name, module in sys.modules.items() if module))
        case b"pages":
            return ParsedDocument("", "a", tuple((10**8 + n, n) for n in range(limits.pages)))
        case b"leave out":
            return ParsedDocument("", "a", left_out={"chart": 2, "x" * 10**5: 1, "picture": 10**20})
        case b"environment":
            return ParsedDocument("", " ".join(os.environ))
    if data.startswith(b"allocate"):
        bytearray(int(data.split()[1]) * 2**20)
    return ParsedDocument(str(os.getpid()), data[:100].decode())
"""

MakeParser = Callable[..., DocumentParser]


@pytest.fixture
def make_parser() -> Iterator[MakeParser]:
    parsers: list[DocumentParser] = []

    def make(function: str = "", **settings: object) -> DocumentParser:
        config = IngestionConfig.model_validate({"parse_processes": 1} | settings)
        parsers.append(DocumentParser(config, function) if function else DocumentParser(config))
        return parsers[-1]

    yield make
    for parser in parsers:
        parser.close()
    assert not [child for child in psutil.Process().children() if "parsers.child" in " ".join(child.cmdline())]


@pytest.fixture
def make_injected(make_parser: MakeParser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeParser:
    (tmp_path / "injected_parser.py").write_text(INJECTED)
    monkeypatch.syspath_prepend(tmp_path)
    return lambda **settings: make_parser("injected_parser:misbehave", **settings)


async def test_every_kind_is_parsed_in_one_warm_process(make_parser: MakeParser, font: Path) -> None:
    parser = make_parser()
    documents = {
        "a.md": b"# Naslov\n\nTekst",
        "a.txt": "Članak 1.\nTekst".encode(),
        "a.html": b"<h1>Naslov</h1><p>Tekst",
        "a.docx": make_docx(["# Naslov", "Tekst"]),
        "a.pdf": make_pdf(["# Naslov", "Tekst " * 40], font),
        "a.pptx": make_pptx([("Naslov", ["Tekst"])]),
        "a.xlsx": make_xlsx({"Naslov": [["Tekst", 1]]}),
        "a.epub": make_epub(["<h1>Naslov</h1><p>Tekst"]),
        "a.csv": b"Tekst;1\n",
        "a.eml": b"Subject: Naslov\n\nTekst",
    }
    for name, data in documents.items():
        assert "Tekst" in (await parser.parse(data, name, "")).text
    assert (await parser.parse(documents["a.html"], "a.html", "")).title == "Naslov"


async def test_pages_come_back_from_the_process(make_parser: MakeParser) -> None:
    document = await make_parser().parse(make_pptx([("Prvi", ["a"]), ("Drugi", ["b"])]), "a.pptx", "")
    assert document.pages == ((0, 1), (document.text.index("\n\n## Drugi"), 2))


async def test_an_answer_has_room_for_as_many_pages_as_are_allowed(make_injected: MakeParser) -> None:
    parser = make_injected(max_text_characters=1, max_pages=100_000)
    assert len((await parser.parse(b"pages", "", "")).pages) == 100_000


async def test_what_was_left_out_comes_from_the_process_as_counts_of_known_kinds(make_injected: MakeParser) -> None:
    assert (await make_injected().parse(b"leave out", "", "")).left_out == {"chart": 2, "picture": MAX_COUNT}


async def test_the_process_is_reused_also_after_a_refusal(make_injected: MakeParser) -> None:
    parser = make_injected()
    first = await parser.parse(b"a", "", "")
    assert (await parser.parse(b"b", "", "")).title == first.title


@pytest.mark.parametrize(
    ("data", "name", "error"),
    [
        (random.Random(1).randbytes(5000), "a.pdf", UnsupportedDocument),
        (random.Random(1).randbytes(5000), "a.txt", UnsupportedDocument),
        (b"%PDF-1.7\n" + random.Random(1).randbytes(5000), "a.pdf", BrokenDocument),
        (b"PK\3\4" + random.Random(1).randbytes(5000), "a.docx", BrokenDocument),
        (b"", "a.md", BrokenDocument),
        (b" \n- \n", "a.md", BrokenDocument),
        (b"a" * 2001, "a.md", DocumentTooLarge),
        (b"<b>" * 5000 + b"text", "a.html", BrokenDocument),
    ],
)
async def test_bad_documents_are_refused_with_their_own_error(
    make_parser: MakeParser, data: bytes, name: str, error: type[Exception]
) -> None:
    parser = make_parser(max_text_characters=2000)
    with pytest.raises(error):
        await parser.parse(data, name, "")
    assert (await parser.parse(b"good", "a.md", "")).text == "good"


@pytest.mark.parametrize("how", [b"hang", b"hang in C"])
async def test_a_hanging_parser_is_killed(make_injected: MakeParser, how: bytes) -> None:
    parser = make_injected(parse_timeout_s=0.2)
    with pytest.raises(BrokenDocument, match=r"more than 0\.2 s"):
        await parser.parse(how, "", "")
    assert (await parser.parse(b"good", "", "")).text == "good"


async def test_a_parser_that_eats_memory_is_stopped(make_injected: MakeParser) -> None:
    parser = make_injected(parse_memory_mb=256)
    with pytest.raises(BrokenDocument, match="more than 256 MiB"):
        await parser.parse(b"eat memory", "", "")
    assert (await parser.parse(b"good", "", "")).text == "good"


async def test_memory_is_counted_from_what_the_process_has(make_injected: MakeParser) -> None:
    parser = make_injected(parse_memory_mb=256)
    assert (await parser.parse(b"allocate 200", "", "")).text == "allocate 200"
    first = await parser.parse(b"leak", "", "")
    with pytest.raises(BrokenDocument, match="more than 256 MiB"):
        await parser.parse(b"allocate 300", "", "")
    after = await parser.parse(b"allocate 200", "", "")
    assert after.title == first.title


async def test_a_document_is_received_outside_of_the_memory_limit(make_injected: MakeParser) -> None:
    parser = make_injected(parse_memory_mb=256)
    first = await parser.parse(b"leak", "", "")
    assert (await parser.parse(b"x" * 100 * 2**20, "", "")).title == first.title


@pytest.mark.parametrize(
    ("how", "error", "says"),
    [
        (b"crash", BrokenDocument, "SIGSEGV"),
        (b"raise", BrokenDocument, "exit status 1"),
        (b"die from outside", StageUnavailable, "killed"),
    ],
)
async def test_a_dying_parser_fails_its_document_only(
    make_injected: MakeParser, how: bytes, error: type[Exception], says: str
) -> None:
    parser = make_injected()
    with pytest.raises(error, match=says):
        await parser.parse(how, "", "")
    assert (await parser.parse(b"good", "", "")).text == "good"


async def test_a_function_that_does_not_exist_is_not_the_documents_fault(make_parser: MakeParser) -> None:
    with pytest.raises(StageUnavailable, match="did not start"):
        await make_parser("deployments.ingestion.parsers:nothing").parse(b"a", "a.md", "")


async def test_a_cancelled_call_kills_its_process_and_frees_its_place(make_injected: MakeParser) -> None:
    parser = make_injected()
    pid = int((await parser.parse(b"a", "", "")).title)
    hanging = asyncio.create_task(parser.parse(b"hang", "", ""))
    await until(lambda: bool(parser._busy))
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging
    assert not psutil.pid_exists(pid)
    assert (await parser.parse(b"good", "", "")).text == "good"


async def test_no_more_processes_than_configured(make_injected: MakeParser) -> None:
    parser = make_injected(parse_processes=2)
    documents = await asyncio.gather(*(parser.parse(b"%d" % n, "", "") for n in range(12)))
    assert [document.text for document in documents] == [str(n) for n in range(12)]
    assert len({document.title for document in documents}) <= 2


async def test_the_process_stands_back_behind_its_parent(make_injected: MakeParser) -> None:
    answer = await make_injected().parse(b"who?", "note.txt", "")
    assert psutil.Process(int(answer.title)).nice() == min(psutil.Process().nice() + child.NICENESS, 19)


async def test_the_process_has_neither_heavy_modules_nor_secrets(
    make_injected: MakeParser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAG_TEST_SECRET", "x")
    parser = make_injected()
    modules = {name.partition(".")[0] for name in (await parser.parse(b"modules", "", "")).text.split()}
    assert {"pypdfium2", "mammoth", "bs4", "pptx", "openpyxl"} <= modules
    assert not modules & {"torch", "ray", "numpy", "pydantic", "serve_app"}
    assert "RAG_TEST_SECRET" not in (await parser.parse(b"environment", "", "")).text.split()


PARENT = """
import asyncio, sys
from deployments.ingestion.config import IngestionConfig
from deployments.ingestion.parsers import child
from deployments.ingestion.parsing import DocumentParser

async def main():
    parser = DocumentParser(IngestionConfig(), "injected_parser:misbehave")
    print((await parser.parse(b"a", "", "")).title, flush=True)
    await parser.parse(sys.argv[1].encode(), "", "")

asyncio.run(main())
"""


@pytest.mark.parametrize("doing", ["hang", "hang in C"])
def test_the_process_does_not_outlive_a_killed_parent(tmp_path: Path, doing: str) -> None:
    (tmp_path / "injected_parser.py").write_text(INJECTED)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    command = [sys.executable, "-c", PARENT, doing]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
    child.wait(timeout=30)
