"""openai-python's own tests of the routes that are here, sync and async, against the service with a real vLLM.

They come with the client's source package, and are written for a server that answers anything. Names of models and the
key are replaced by those of the service, and responses that are asked nothing of no model are asked something of one.
Nothing else is changed. Many tests ask for what this service refuses, or has no route for. Such a test fails by the
service's own words, which EXPLAINED has. What else fails is a failure.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from benchmarks.clients import OPENAI_PYTHON, PATIENT, install_python, kept_or_temporary, serving
from benchmarks.service import ray_folder, report

WITH_AIOHTTP = OPENAI_PYTHON.replace("==", "[aiohttp]==")
PACKAGES = (WITH_AIOHTTP, "pytest==9.2.0", "pytest-asyncio==1.5.0", "rich==15.0.0")
FILES = ("chat/test_completions.py", "test_completions.py", "test_embeddings.py", "test_models.py", "test_responses.py")
ANSWER_TOKENS = 16
"""Of an answer for which a test says no length."""
TESTS_S = 500.0
_ASKED_NOTHING = re.compile(r"(responses(?:\.with_\w+)?\.create\()(?=\)|\s+stream=True,\s+\))")


class Explained(NamedTuple):
    """Failures of tests whose file and name fit, and whose error has these words."""

    test: str
    """A regular expression of the file and the name."""
    says: str
    why: str


EXPLAINED = (
    Explained(r"responses\.py::\w+_(retrieve|delete|cancel)", "there is no path", "answers are not kept"),
    Explained(r"responses\.py::\w+_compact", "there is no path", "conversations are not made shorter"),
    Explained(
        r"responses\.py::\w+_create_with_all_params",
        "previous_response_id: answers are not kept",
        "asks for an answer that was kept, and more that is refused by name",
    ),
    Explained(r"chat/\w+\.py::\w+_(retrieve|update|delete)", "there is no path", "answers are not kept"),
    Explained(r"chat/\w+\.py::\w+_list", "405", "answers are not kept"),
    Explained(
        r"chat/\w+\.py::\w+_create_with_all_params",
        "audio: only text is answered",
        "asks for audio, log probabilities and more that is refused by name",
    ),
    Explained(
        r"^test_completions\.py::\w+_create_with_all_params",
        "echo: answers do not repeat the prompt",
        "asks for log probabilities and more that is refused by name",
    ),
    Explained(r"models\.py::\w+_delete", "405", "models belong to the configuration"),
    Explained(
        r"embeddings\.py::\w+_create",
        "Data returned by API invalid for expected schema",
        "the client asks for base64 by itself, and a strict one then takes lists alone",
    ),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of a test: `name` is its file and function; `kind` is sync or async, and how the client was made."""

    name: str
    kind: str
    error: str | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--places", type=Path, help="where the client is installed and stays; by default a new folder")
    with kept_or_temporary(parser.parse_args().places) as places, ray_folder() as folder:
        python = install_python(places / "openai-python-tests", PACKAGES)
        archive = source_package(places / "openai-python-source")
        with serving(folder, PATIENT | {"max_tokens": ANSWER_TOKENS}) as where:
            outcomes = run(python, prepared(archive, folder / "client", where), where)
    report(told(outcomes))


def source_package(place: Path) -> Path:
    """The client's source package, which pip brings."""
    if not place.exists():
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "openai"]
        try:
            subprocess.run([*pip, "--dest", place, OPENAI_PYTHON], check=True)
        except subprocess.CalledProcessError:
            shutil.rmtree(place, ignore_errors=True)
            raise
    [archive] = place.glob("*.tar.gz")
    return archive


def prepared(archive: Path, place: Path, where: Mapping[str, str]) -> Path:
    """A folder with the tests, which name the service's models and have its key."""
    with tarfile.open(archive) as packed:
        packed.extractall(place, filter="data")
    [source] = place.iterdir()
    tests = source / "tests"
    replace(tests / "conftest.py", {"My API Key": where["RAG_KEY"]})
    raw, embedder = where["RAG_RAW_MODEL"], where["RAG_EMBEDDER"]
    names = {"gpt-6-astra": raw, "gpt-4o-mini": raw, "gpt-3.5-turbo-instruct": raw, "text-embedding-3-small": embedder}
    for file in FILES:
        replace(tests / "api_resources" / file, names)
    responses = tests / "api_resources" / "test_responses.py"
    text, added = _ASKED_NOTHING.subn(rf"\1model={raw!r}, input='string', ", responses.read_text())
    assert added, f"all responses of {responses} are asked something; leave this out"
    responses.write_text(text)
    return source


def replace(path: Path, texts: Mapping[str, str]) -> None:
    """Replace whole strings of a Python file, of which it has at least one."""
    before = after = path.read_text()
    for old, new in texts.items():
        after = after.replace(f'"{old}"', f'"{new}"')
    assert after != before, f"{path} names none of {', '.join(texts)}"
    path.write_text(after)


def run(python: str, source: Path, where: Mapping[str, str]) -> list[Outcome]:
    results = source / "results.xml"
    subprocess.run(
        [python, "-m", "pytest", "-o", "addopts=", "-q", "--no-summary", "--junit-xml", results, *files(source)],
        cwd=source,
        env=os.environ | {"TEST_API_BASE_URL": f"{where['RAG_URL']}/v1"},
        timeout=TESTS_S,
    )
    return outcomes_in(results)


def files(source: Path) -> list[Path]:
    return [source / "tests" / "api_resources" / file for file in FILES]


def outcomes_in(results: Path) -> list[Outcome]:
    """Of a file in JUnit's format, as pytest writes it."""
    outcomes = []
    for case in ElementTree.parse(results).iter("testcase"):
        modules, _, tested = case.attrib["classname"].removeprefix("tests.api_resources.").rpartition(".")
        function, _, made = case.attrib["name"].removesuffix("]").partition("[")
        failure = next((each for each in case if each.tag in ("failure", "error", "skipped")), None)
        error = None if failure is None else failure.attrib.get("message", "") + (failure.text or "")
        kind = f"{'async' if 'Async' in tested else 'sync'}, {made or 'as it is'}"
        outcomes.append(Outcome(f"{modules.replace('.', '/')}.py::{function}", kind, error))
    return outcomes


def why(outcome: Outcome) -> str | None:
    """Why a test that failed is no failure of the service, if it is none."""
    found = (each for each in EXPLAINED if re.search(each.test, outcome.name) and each.says in (outcome.error or ""))
    return next((each.why for each in found), None)


def told(outcomes: Sequence[Outcome]) -> dict[str, object]:
    """`passed` and `explained`: how often under each name; `failures`: whatever else there is, with its error."""
    passed: dict[str, int] = defaultdict(int)
    explained: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    failures: dict[str, str] = {}
    for outcome in outcomes:
        if outcome.error is None:
            passed[outcome.name] += 1
        elif reason := why(outcome):
            explained[reason][outcome.name] += 1
        else:
            failures[f"{outcome.name} ({outcome.kind})"] = outcome.error[-2_000:]
    return {
        "tests": len(outcomes),
        "passed": sum(passed.values()),
        "explained": sum(sum(names.values()) for names in explained.values()),
        "failed": len(failures),
        "passed_by_name": passed,
        "explained_by_name": explained,
        "failures": failures,
    }


if __name__ == "__main__":
    main()
