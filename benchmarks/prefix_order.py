"""Tokens of passages that an unbounded prefix cache serves, by the order of passages in prompts.

A week of a real RAG service (RAGPulse: passages by id, by rank, with their token counts) is replayed through the
service's own component at its default bounds. Each order has its own cache, keyed like vLLM's: a block of tokens counts
only after the same preceding tokens. A system part of 512 tokens is in it from the start. A passage that the trace
names twice in one prompt counts once. The figures are the same each time, so it runs once.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from benchmarks.service import report
from deployments.types import Passage
from serve_app.query.config import PromptConfig
from serve_app.query.prefix_cache import PromptPrefixCache

DEFAULT_DATA = Path(__file__).parents[2] / "shared" / "data" / "ragpulse"
BLOCK = 16
SYSTEM_TOKENS = 512
CHARACTERS_A_TOKEN = 4


class Cache:
    """Blocks of tokens, each with a number, by the number of the block before it and what it holds itself."""

    def __init__(self) -> None:
        self._blocks: dict[tuple[int, tuple[int, ...]], int] = {}

    def send(self, tokens: Sequence[int]) -> int:
        """How many of the tokens are served from the cache; afterwards it holds them all."""
        before, served, serving = 0, 0, True
        for start in range(0, len(tokens) - BLOCK + 1, BLOCK):
            block = before, tuple(tokens[start : start + BLOCK])
            serving = serving and block in self._blocks
            served += BLOCK * serving
            before = self._blocks.setdefault(block, len(self._blocks) + 1)
        return served


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    questions = list(trace(parser.parse_args().data))
    total = sum(tokens_of(passage) for asked in questions for passage in asked)
    print(f"{len(questions)} questions with {total} tokens of passages", flush=True)
    cached: dict[str, int] = {}
    for order in get_args(PromptConfig.model_fields["order"].annotation):
        cached[order] = replay(questions, PromptPrefixCache(PromptConfig(order=order)))
        print(f"{order}: {cached[order] / total:.1%} of them cached", flush=True)
    report(
        {
            "cached_token_ratio_free": round(cached["free"] / cached["rank"], 3),
            "cached_token_ratio_best_first": round(cached["best_first"] / cached["rank"], 3),
            **{f"cached_share_{order}": round(tokens / total, 4) for order, tokens in cached.items()},
            "questions": len(questions),
        }
    )


def replay(questions: Sequence[Sequence[Passage]], prefixes: PromptPrefixCache) -> int:
    """Tokens of passages that were cached."""
    system, cache, served = range(SYSTEM_TOKENS), Cache(), 0
    token_ids, new = dict[str, range](), system.stop
    cache.send(system)
    for asked in questions:
        tokens = list(system)
        for passage in prefixes.arrange("tenant", "system", asked):
            if passage.id not in token_ids:
                token_ids[passage.id] = range(new, new + tokens_of(passage))
                new = token_ids[passage.id].stop
            tokens += token_ids[passage.id]
        served += cache.send(tokens) - SYSTEM_TOKENS
    return served


def tokens_of(passage: Passage) -> int:
    return len(passage.text) // CHARACTERS_A_TOKEN


def trace(folder: Path) -> Iterator[list[Passage]]:
    """The passages of each prompt that has any, best first."""
    passages = {
        row["passage_id"]: Passage(
            id=str(row["passage_id"]),
            document_id="",
            version="",
            tenant_id="tenant",
            owner="",
            collection="",
            language="en",
            position=0,
            title="",
            text="x" * CHARACTERS_A_TOKEN * row["token_length"],
        )
        for row in lines(folder / "2_passages.jsonl")
    }
    for row in lines(folder / "0_trace.jsonl"):
        if found := row["hash_ids"]["passages_ids"]:
            yield [passages[id] for id in dict.fromkeys(found)]


def lines(path: Path) -> Iterator[dict[str, Any]]:
    yield from map(json.loads, filter(str.strip, path.read_text().splitlines()))


if __name__ == "__main__":
    main()
