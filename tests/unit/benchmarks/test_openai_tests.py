"""What openai-python's own tests are told to have shown."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from benchmarks import openai_tests
from benchmarks.openai_tests import Outcome, outcomes_in, prepared, told

RESULTS = """<testsuites><testsuite>
<testcase classname="tests.api_resources.test_models.TestModels" name="test_method_list[strict]"/>
<testcase classname="tests.api_resources.test_models.TestAsyncModels" name="test_method_delete[aiohttp]">
<failure message="openai.APIStatusError: Error code: 405 - Method Not Allowed">the traceback</failure></testcase>
<testcase classname="tests.api_resources.chat.test_completions.TestCompletions" name="test_method_list[loose]">
<error message="failed on setup">500</error></testcase>
</testsuite></testsuites>"""
WHERE = {"RAG_KEY": "rag_1", "RAG_RAW_MODEL": "/tiny", "RAG_EMBEDDER": "e5"}


def test_outcomes_are_read_with_their_names_and_errors(tmp_path: Path) -> None:
    (tmp_path / "results.xml").write_text(RESULTS)
    listed, deleted, broken = outcomes_in(tmp_path / "results.xml")
    assert listed == Outcome("test_models.py::test_method_list", "sync, strict", None)
    assert (deleted.name, deleted.kind) == ("test_models.py::test_method_delete", "async, aiohttp")
    assert broken.name == "chat/test_completions.py::test_method_list"
    assert "405" in (deleted.error or "")
    assert broken.error == "failed on setup500"


def test_a_failure_is_explained_by_its_test_and_the_words_of_its_error_alone() -> None:
    refused = "Error code: 405 - Method Not Allowed"
    deleted = Outcome("test_models.py::test_method_delete", "sync, loose", refused)
    others = [
        Outcome("test_models.py::test_method_delete", "sync, strict", "Error code: 500"),
        Outcome("test_models.py::test_method_list", "sync, strict", refused),
    ]
    figures = told([deleted, *others, Outcome("test_models.py::test_method_list", "sync, loose", None)])
    assert [figures[name] for name in ("tests", "passed", "explained", "failed")] == [4, 1, 1, 2]
    assert figures["explained_by_name"] == {
        "models belong to the configuration": {"test_models.py::test_method_delete": 1}
    }
    assert figures["failures"] == {f"{other.name} ({other.kind})": other.error for other in others}


SOURCES = {
    "tests/conftest.py": 'api_key = "My API Key"\n',
    "tests/api_resources/test_models.py": 'client.models.retrieve("gpt-4o-mini")\n',
    "tests/api_resources/chat/test_completions.py": 'client.chat.completions.create(model="gpt-6-astra")\n',
    "tests/api_resources/test_completions.py": 'client.completions.create(model="gpt-3.5-turbo-instruct")\n',
    "tests/api_resources/test_embeddings.py": 'client.embeddings.create(model="text-embedding-3-small")\n',
    "tests/api_resources/test_responses.py": (
        "client.responses.create()\n"
        "client.responses.with_raw_response.create(\n    stream=True,\n)\n"
        'client.responses.create(\n    stream=True,\n    model="gpt-6-astra",\n)\n'
    ),
}


def packed(folder: Path, sources: dict[str, str]) -> Path:
    for name, text in sources.items():
        path = folder / "openai-1" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with tarfile.open(folder / "openai-1.tar.gz", "w:gz") as archive:
        archive.add(folder / "openai-1", "openai-1")
    return folder / "openai-1.tar.gz"


def test_only_models_the_key_and_responses_without_a_question_are_changed(tmp_path: Path) -> None:
    source = prepared(packed(tmp_path, SOURCES), tmp_path / "client", WHERE)
    assert (source / "tests/conftest.py").read_text() == 'api_key = "rag_1"\n'
    tests = source / "tests" / "api_resources"
    assert (tests / "test_embeddings.py").read_text() == 'client.embeddings.create(model="e5")\n'
    assert (tests / "test_responses.py").read_text() == (
        "client.responses.create(model='/tiny', input='string', )\n"
        "client.responses.with_raw_response.create(model='/tiny', input='string', \n    stream=True,\n)\n"
        'client.responses.create(\n    stream=True,\n    model="/tiny",\n)\n'
    )
    assert {path.name for path in openai_tests.files(source) if "/tiny" in path.read_text()} == {
        "test_models.py", "test_completions.py", "test_responses.py",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["tests/conftest.py", "tests/api_resources/chat/test_completions.py"])
def test_tests_that_name_other_models_are_not_run_as_if_they_named_ours(tmp_path: Path, name: str) -> None:
    """Another version of the client may."""
    archive = packed(tmp_path, SOURCES | {name: 'api_key = "other"; client.create(model="gpt-7")\n'})
    with pytest.raises(AssertionError, match=f"{Path(name).name} names none of"):
        prepared(archive, tmp_path / "client", WHERE)
