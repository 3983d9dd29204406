"""The drivers of `make bench NAME=clients` whose clients are here, on an engine that does what it is held to."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from tests.integration.api.conftest import Api
from tests.support.obedient import obey

DRIVERS = Path(__file__).parents[4] / "benchmarks" / "client_drivers"


@pytest.mark.parametrize(("driver", "calls"), [("openai_python.py", 16), ("cohere_python.py", 5)])
async def test_every_call_of_a_client_succeeds(api: Api, url: str, key: str, driver: str, calls: int) -> None:
    obey(api.stages)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(DRIVERS / driver),
        env=os.environ
        | {
            "RAG_URL": url,
            "RAG_KEY": key,
            "RAG_RAW_MODEL": "none",
            "RAG_EMBEDDER": "org/embedder",
            "RAG_RERANKER": "org/reranker",
            "NO_PROXY": "*",
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    told = [json.loads(line) for line in printed.splitlines() if line.startswith(b'{"call"')]
    assert [call["error"] for call in told if "error" in call] == []
    assert len(told) == calls
