"""vLLM's own `vllm bench serve`, which this starts as vLLM's command does."""

import argparse
import json
import os
import tempfile
from pathlib import Path

from calls import KEY, RAW, URL, call, wait_to_be_let_go
from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser

os.environ["OPENAI_API_KEY"] = KEY
PROMPTS = 8


def measure(backend: str, route: str, *more: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        parser = FlexibleArgumentParser()
        add_cli_args(parser)
        given = parser.parse_args(
            [
                "--backend", backend, "--base-url", URL, "--endpoint", route, "--model", RAW,
                "--tokenizer", os.environ["RAG_TOKENIZER"], "--dataset-name", "random", "--random-input-len", "32",
                "--random-output-len", "16", "--num-prompts", str(PROMPTS), "--disable-tqdm",
                "--save-result", "--result-dir", folder, "--result-filename", "result.json", *more,
            ]
        )  # fmt: skip
        assert isinstance(given, argparse.Namespace)
        main(given)
        result = json.loads((Path(folder) / "result.json").read_text())
    assert (result["completed"], result["failed"]) == (PROMPTS, 0), result
    assert result["total_output_tokens"] >= PROMPTS


@call("chat")
def chat() -> None:
    measure("openai-chat", "/v1/chat/completions")


@call("completions")
def completions() -> None:
    measure("openai", "/v1/completions")


@call("lengths, and how tokens are chosen")
def sampling() -> None:
    more = ["--ignore-eos", "--top-k", "20", "--min-p", "0.01", "--repetition-penalty", "1.1", "--temperature", "1"]
    measure("openai", "/v1/completions", *more)


wait_to_be_let_go()
