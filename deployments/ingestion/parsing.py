"""Parses documents in child processes, which may hang, crash or use up memory without harm to this process.

Not in a `multiprocessing` pool. Its workers import the parent's main module, which under Ray is Ray's whole worker.
They inherit the environment with its secrets, and they answer with pickles.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import deployments
from deployments.errors import BadInput, BrokenDocument, DocumentTooLarge, StageUnavailable, UnsupportedDocument
from deployments.ingestion import omissions
from deployments.ingestion.base import ParsedDocument
from deployments.ingestion.config import IngestionConfig

PARSE = "deployments.ingestion.parsers:parse"

_START_S = 60.0
_END_S = 5.0
_ANSWER_BYTES = 2**20
"""How much longer than its text and page numbers an answer may be."""
_PAGE_BYTES = 32
_DOCUMENTS_PER_PROCESS = 100
"""A process is replaced after so many documents, so that memory which parsers leak stays bounded."""
_ENVIRONMENT = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "TMPDIR")
_ERRORS = {error.code: error for error in (BrokenDocument, DocumentTooLarge, UnsupportedDocument)}


class DocumentParser:
    """Parses at most `parse_processes` documents at once; further calls wait.

    Processes start when first needed, are kept for later documents, and end with `close` or with this process. They
    run `function`, named as `module:function`, which has the signature of `parsers.parse`.
    """

    def __init__(self, config: IngestionConfig, function: str = PARSE) -> None:
        self._config = config
        self._function = function
        self._slots = asyncio.Semaphore(config.parse_processes)
        self._threads = ThreadPoolExecutor(config.parse_processes, thread_name_prefix="parse")
        self._idle: list[_ParserProcess] = []
        self._busy: set[_ParserProcess] = set()

    async def parse(self, data: bytes, filename: str, media_type: str) -> ParsedDocument:
        """The document as Markdown.

        Raises UnsupportedDocument, BrokenDocument or DocumentTooLarge for a problem of the document, StageUnavailable
        when the process could not start or was killed from outside.
        """
        async with self._slots:
            process = self._idle.pop() if self._idle else _ParserProcess(self._config, self._function)
            self._busy.add(process)
            try:
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._threads, process.parse, data, filename, media_type)
            except asyncio.CancelledError:
                process.kill()
                raise
            finally:
                self._busy.discard(process)
                if process.is_reusable:
                    self._idle.append(process)
                else:
                    process.kill()

    def close(self) -> None:
        """Kill the processes, even in the middle of a document."""
        for process in (*self._idle, *self._busy):
            process.kill()
        self._idle.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)


class _ParserProcess:
    """One process, started with its first document. `parse` blocks; `kill` may be called from any thread."""

    def __init__(self, config: IngestionConfig, function: str) -> None:
        self._config = config
        self._function = function
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False
        self._ready = False
        self._documents = 0

    @property
    def is_reusable(self) -> bool:
        alive = self._process is not None and self._process.poll() is None
        return alive and not self._killed and self._documents < _DOCUMENTS_PER_PROCESS

    def parse(self, data: bytes, filename: str, media_type: str) -> ParsedDocument:
        config = self._config
        request = {
            "filename": filename,
            "media_type": media_type,
            "memory_mb": config.parse_memory_mb,
            "text_characters": config.max_text_characters,
            "inflation": config.max_inflation,
            "pages": config.max_pages,
        }
        try:
            if self._process is None:
                self._start()
            self._connection.send_bytes(json.dumps(request).encode())
            self._connection.send_bytes(data)
            if not self._connection.poll(config.parse_timeout_s):
                self.kill()
                raise BrokenDocument(
                    f"reading the document took more than {config.parse_timeout_s:g} s; "
                    "split it, or save it in a simpler form"
                )
            max_bytes = _ANSWER_BYTES + 4 * config.max_text_characters + _PAGE_BYTES * config.max_pages
            answer = json.loads(self._connection.recv_bytes(max_bytes))
        except (EOFError, OSError) as error:
            raise self._error_of_ended_process() from error
        self._documents += 1
        return _document(answer)

    def kill(self) -> None:
        self._killed = True
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _start(self) -> None:
        self._connection, child_end = multiprocessing.Pipe()
        root = str(Path(deployments.__file__).parents[1])
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        environment["PYTHONPATH"] = os.pathsep.join([root, *(path for path in sys.path if path)])
        with child_end:
            descriptor = child_end.fileno()
            arguments = [str(descriptor), str(os.getpid()), self._function]
            self._process = subprocess.Popen(
                # -P: the working folder may hold modules that shadow the library's.
                [sys.executable, "-P", "-m", "deployments.ingestion.parsers.child", *arguments],
                pass_fds=[descriptor],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        if self._killed:  # cancelled while it started
            self.kill()
        if not self._connection.poll(_START_S):
            self.kill()
            raise StageUnavailable(f"the parsing process did not start within {_START_S:g} s")
        self._connection.recv_bytes()
        self._ready = True

    def _error_of_ended_process(self) -> BadInput | StageUnavailable:
        code = 1
        if self._process is not None:
            try:
                code = self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                self.kill()
        if self._killed or code == -signal.SIGKILL:
            return StageUnavailable("the parsing process was killed; the machine may be out of memory")
        cause = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        if not self._ready:
            return StageUnavailable(f"the parsing process did not start ({cause}); its log says why")
        return BrokenDocument(
            f"reading the document crashed its parser ({cause}), or took more than "
            f"{self._config.parse_memory_mb:,} MiB of memory; save it again, or split it"
        )


def _document(answer: dict[str, Any]) -> ParsedDocument:
    """The document in the process' answer. Raises the error if the answer holds one."""
    if "code" in answer:
        raise _ERRORS.get(answer["code"], BrokenDocument)(answer["message"])
    pages = tuple((int(offset), int(page)) for offset, page in answer["pages"])
    left_out = omissions.checked(answer["left_out"])
    return ParsedDocument(answer["title"], answer["text"], pages, left_out, answer["metadata"])
