from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rag.evaluation.corpus import write_corpus
from rag.evaluation.errors import EvaluationError
from rag.evaluation.gold import Gold
from rag.evaluation.questions import Question, read_questions


def lines(path: Path, *objects: Any) -> Path:
    path.write_text("".join(f"{json.dumps(one, ensure_ascii=False)}\n" for one in objects), "utf-8")
    return path


def beir(folder: Path, qrels: str, split: str = "test") -> Path:
    lines(folder / "queries.jsonl", {"_id": "1", "text": "What?"}, {"_id": 2, "text": "Who?", "metadata": {}})
    (folder / "qrels").mkdir(exist_ok=True)
    (folder / "qrels" / f"{split}.tsv").write_text(qrels)
    return folder


def test_questions_of_a_file(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "q.jsonl",
        {"id": "1", "query": "Koji je rok?", "gold": ["a#art2", "b"], "key_facts": ["15 dana"], "act": "a"},
        {"id": 2, "query": "PDV?", "gold": [], "answerable": False},
        {"id": "3", "query": "Kome?", "key_facts": ["Povjereniku"], "answerable": True},
    )
    assert read_questions(path) == [
        Question("1", "Koji je rok?", {Gold("a", "2"): 1, Gold("b"): 1}, ("15 dana",)),
        Question("2", "PDV?", {}, answerable=False),
        Question("3", "Kome?", {}, ("Povjereniku",)),
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[1]", "line 2 is not a JSON object"),
        ("{", "line 2 is not JSON"),
        ('{"query": "x", "gold": ["a"]}', "line 2: the field 'id'"),
        ('{"id": "1", "query": " ", "gold": ["a"]}', "line 2: the field 'query'"),
        ('{"id": true, "query": "x", "gold": ["a"]}', "line 2: the field 'id'"),
        ('{"id": "1", "query": "x", "gold": "a"}', "line 2: the field 'gold' must be a list"),
        ('{"id": "1", "query": "x", "key_facts": [1]}', "line 2: the field 'key_facts' must be a list"),
        ('{"id": "1", "query": "x", "gold": ["a"], "answerable": "yes"}', "'answerable' must be true or false"),
        ('{"id": "1", "query": "x"}', "name the gold ids or the key_facts"),
        ('{"id": "1", "query": "x", "gold": ["a"], "answerable": false}', "must be empty"),
        ('{"id": "0", "query": "x", "gold": ["a"]}', "the id '0' is there twice"),
    ],
)
def test_what_is_wrong_with_a_line_is_said(tmp_path: Path, line: str, said: str) -> None:
    path = lines(tmp_path / "q.jsonl", {"id": "0", "query": "x", "gold": ["a"]})
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(EvaluationError) as error:
        read_questions(path)
    assert said in str(error.value)


def test_what_is_wrong_with_a_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="cannot be read"):
        read_questions(tmp_path / "none.jsonl")
    (tmp_path / "latin.jsonl").write_bytes('{"id": "1", "query": "č"}'.encode("cp1250"))
    with pytest.raises(EvaluationError, match="is not UTF-8"):
        read_questions(tmp_path / "latin.jsonl")
    with pytest.raises(EvaluationError, match="holds no questions"):
        read_questions(lines(tmp_path / "empty.jsonl"))


def test_queries_of_a_folder_are_those_with_a_relevant_document(tmp_path: Path) -> None:
    folder = beir(tmp_path, "query-id\tcorpus-id\tscore\n1\td#art1\t2\n1\td2\t1\n2\td3\t0\n")
    [question] = read_questions(folder)
    assert question == Question("1", "What?", {Gold("d#art1"): 2, Gold("d2"): 1})


def test_a_split_is_chosen(tmp_path: Path) -> None:
    beir(tmp_path, "1\td\t1\n", split="dev")
    assert [question.id for question in read_questions(tmp_path)] == ["1"]
    beir(tmp_path, "2\td\t1\n", split="train")
    with pytest.raises(EvaluationError, match="several splits; choose one with --split: dev, train"):
        read_questions(tmp_path)
    assert [question.id for question in read_questions(tmp_path, "train")] == ["2"]
    with pytest.raises(EvaluationError, match="has no split 'test'"):
        read_questions(tmp_path, "test")


@pytest.mark.parametrize(
    ("qrels", "said"),
    [("1 d 1\n", "test.tsv, line 1 is not query-id"), ("1\td\thigh\n", "line 1"), ("9\td\t1\n", "no query '9'")],
)
def test_what_is_wrong_with_qrels_is_said(tmp_path: Path, qrels: str, said: str) -> None:
    with pytest.raises(EvaluationError) as error:
        read_questions(beir(tmp_path, qrels))
    assert said in str(error.value)


def test_a_folder_without_qrels_is_refused(tmp_path: Path) -> None:
    lines(tmp_path / "queries.jsonl", {"_id": "1", "text": "What?"})
    with pytest.raises(EvaluationError, match="holds no"):
        read_questions(tmp_path)


def test_diacritics_are_left_out_composed_or_not() -> None:
    assert Question("1", "Čiji đak žeže?", {}).without_diacritics().text == "Ciji dak zeze?"
    assert Question("1", "Što c\u030ceka?", {}).without_diacritics().text == "Sto ceka?"


def test_a_corpus_is_written_as_markdown(tmp_path: Path) -> None:
    lines(
        tmp_path / "corpus.jsonl",
        {"_id": "a/1", "title": "On\nthings", "text": "Text."},
        {"_id": "2", "title": "", "text": "Only text."},
        {"_id": "3", "title": "", "text": " "},
    )
    (tmp_path / "out").mkdir()
    files = write_corpus(tmp_path, tmp_path / "out")
    assert [(file.name, file.path.read_text()) for file in files] == [
        ("a/1.md", "# On things\n\nText.\n"),
        ("2.md", "Only text.\n"),
    ]
    lines(tmp_path / "corpus.jsonl", {"_id": "1", "text": 5})
    with pytest.raises(EvaluationError, match="line 1: the fields 'title' and 'text' must be text"):
        write_corpus(tmp_path, tmp_path / "out")
