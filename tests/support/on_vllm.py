"""The whole service with vLLM on a tiny model that is made here, and what vLLM says by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from deployments.types import Message, Passage
from serve_app.query.prompt import build_prompt
from tests.support.service import Running, service
from tests.support.tiny_model import make_tiny_model
from tests.support.vllm_reference import greedy_answers

SLOTS, QUEUE = 4, 2
CONTEXT = 8_192
DOCUMENTS = [
    {
        "id": f"zakon-{number}",
        "title": f"Zakon o rokovima {number}",
        "text": f"# Članak {number}\n\nŽalba se podnosi u roku od {number + 10} dana od dana dostave rješenja. "
        f"O žalbi odlučuje povjerenstvo broj {number}, a odluka se dostavlja podnositelju.",
        "metadata": {"year": 2000 + number},
    }
    for number in range(1, 7)
]
QUESTION = "U kojem roku se podnosi žalba?"
CONVERSATIONS = [
    (Message("system", "Odgovaraš iz odlomaka."), Message("user", "Koliko dugo se čuvaju dokumenti? Šaljem žalbu.")),
    (Message("user", "How long are documents kept?"),),
    (
        Message("system", "Pišeš kratko."),
        Message("user", "[1] Dokumenti se čuvaju 30 dana.\n\nKoliko?"),
        Message("assistant", "30 dana. [1]"),
        Message("user", "A zatim?"),
    ),
]
QUESTION_TOKENS, CONVERSATION_TOKENS = 48, 100
"""At most so many in an answer."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What the service streamed on QUESTION; what vLLM by itself answers to the same prompt, and to CONVERSATIONS."""

    streamed: Sequence[Mapping[str, Any]]
    direct: Mapping[str, Any]
    conversations: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Vllm:
    running: Running
    folder: Path

    @cached_property
    def reference(self) -> Reference:
        """Of one run of vLLM by itself, for all tests."""
        streamed, messages = asyncio.run(self._streamed())
        direct, *conversations = greedy_answers(
            self.running.args.generation,
            [messages, *CONVERSATIONS],
            max_tokens=[QUESTION_TOKENS, *[CONVERSATION_TOKENS] * len(CONVERSATIONS)],
            log=self.folder / "reference.log",
        )
        return Reference(streamed, direct, conversations)

    async def _streamed(self) -> tuple[Sequence[Mapping[str, Any]], Sequence[Message]]:
        """The messages on QUESTION, and the prompt made of its sources."""
        async with self.running.stream(QUESTION, max_tokens=QUESTION_TOKENS) as stream:
            messages = [message async for message in stream]

        async def uncounted(texts: Any) -> list[int]:
            raise AssertionError("this prompt fits by its bytes")

        shown = [
            Passage(s["id"], s["document_id"], "", "", "", "", "hr", 0, s["title"], s["text"], s["metadata"])
            for s in messages[0]["sources"]
        ]
        budget = CONTEXT - QUESTION_TOKENS
        return messages, (await build_prompt(QUESTION, "hr", shown, budget=budget, count_tokens=uncounted)).messages


@contextmanager
def vllm(folder: Path) -> Iterator[Vllm]:
    """Bundled models, the embedded index, SQLite and vLLM, which answers few questions at once."""
    generation = {
        "engine": "vllm",
        "model": str(make_tiny_model(folder / "tiny", context_tokens=CONTEXT)),
        "context_tokens": CONTEXT,
        "max_num_seqs": SLOTS,
        "max_waiting": QUEUE,
        "local_files_only": True,
        # In bfloat16 some processors round otherwise in a batch than alone, and the noise of this model has near ties.
        "engine_kwargs": {"enforce_eager": True, "dtype": "float32"},
    }
    with service(folder, {"generation": generation}) as running:
        assert {document["state"] for document in running.ingest(DOCUMENTS)} == {"indexed"}
        yield Vllm(running, folder)
