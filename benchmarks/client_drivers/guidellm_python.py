"""guidellm, which measures servers of language models, over each of the routes that it knows."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from calls import KEY, RAW, URL, call, wait_to_be_let_go

REQUESTS = 4


def measure(route):
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        subprocess.run(
            [
                str(Path(sys.executable).with_name("guidellm")), "run", "--disable-console-interactive",
                "--backend", f"kind=openai_http,target={URL},model={RAW},api_key={KEY},request_format={route}",
                "--tokenizer", f"kind=hf_auto,model={os.environ['RAG_TOKENIZER']}",
                "--data", "kind=synthetic_text,prompt_tokens=32,output_tokens=16",
                "--profile", "kind=synchronous",
                "--constraint", f"kind=max_requests,count={REQUESTS}",
                "--output", f"kind=json,path={report}",
            ],
            check=True,
            env=os.environ | {"HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
        [measured] = json.loads(report.read_text())["benchmarks"]
    made = measured["metrics"]["request_totals"]
    assert (made["successful"], made["errored"]) == (REQUESTS, 0), made


@call("chat")
def chat():
    measure("/v1/chat/completions")


@call("completions")
def completions():
    measure("/v1/completions")


@call("responses")
def responses():
    measure("/v1/responses")


wait_to_be_let_go()
