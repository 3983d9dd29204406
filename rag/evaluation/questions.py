"""Reads questions: a file of JSON lines, or a folder in the layout of BEIR."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rag.evaluation.errors import EvaluationError
from rag.evaluation.gold import Gold

_FIELDS = "id, query, gold (ids) or key_facts, answerable"
_PLAIN = str.maketrans("čćšžđČĆŠŽĐ", "ccszdCCSZD")


@dataclass(frozen=True, slots=True)
class Question:
    """`gold`: what answers it, each with a grade of 1 or more. `key_facts`: what a whole answer says."""

    id: str
    text: str
    gold: Mapping[Gold, int]
    key_facts: tuple[str, ...] = ()
    answerable: bool = True

    def without_diacritics(self) -> Question:
        """As it is typed on a keyboard without č, ć, š, ž and đ."""
        return replace(self, text=unicodedata.normalize("NFC", self.text).translate(_PLAIN))


def read_questions(path: Path, split: str | None = None) -> list[Question]:
    """The questions of a file or folder, in its order. `split`: which of a folder's qrels; left out, `test` or the only
    one. Raises EvaluationError."""
    if path.is_dir():
        questions = _read_beir(path, split)
    else:
        questions = [_question(fields, place) for place, fields in read_json_lines(path)]
    seen: set[str] = set()
    for question in questions:
        if question.id in seen:
            raise EvaluationError(f"{path}: the id {question.id!r} is there twice; give each question an id of its own")
        seen.add(question.id)
    if not questions:
        raise EvaluationError(f"{path} holds no questions; each line is a JSON object with {_FIELDS}")
    return questions


def read_json_lines(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(where it is, the object) of each line that is not empty. Raises EvaluationError."""
    for place, line in _lines(path):
        try:
            fields = json.loads(line)
        except ValueError as error:
            raise EvaluationError(f"{place} is not JSON ({error}); write one JSON object a line") from None
        if not isinstance(fields, dict):
            raise EvaluationError(f"{place} is not a JSON object; write one with {_FIELDS}")
        yield place, fields


def text_field(fields: Mapping[str, Any], name: str, place: str) -> str:
    """A field that must hold text; a whole number is taken as text. Raises EvaluationError."""
    value = fields.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise EvaluationError(f"{place}: the field {name!r} must be text that is not empty")
    return value


def _question(fields: Mapping[str, Any], place: str) -> Question:
    answerable = fields.get("answerable", True)
    if not isinstance(answerable, bool):
        raise EvaluationError(f"{place}: the field 'answerable' must be true or false")
    gold = {Gold.parse(name): 1 for name in _texts(fields, "gold", place)}
    key_facts = tuple(_texts(fields, "key_facts", place))
    if answerable and not gold and not key_facts:
        raise EvaluationError(f"{place}: name the gold ids or the key_facts, or set answerable to false")
    if not answerable and (gold or key_facts):
        raise EvaluationError(f"{place}: answerable is false, so gold and key_facts must be empty or left out")
    return Question(text_field(fields, "id", place), text_field(fields, "query", place), gold, key_facts, answerable)


def _texts(fields: Mapping[str, Any], name: str, place: str) -> Sequence[str]:
    values = fields.get(name) or []
    if not isinstance(values, list) or not all(isinstance(value, str) and value.strip() for value in values):
        raise EvaluationError(f"{place}: the field {name!r} must be a list of texts that are not empty")
    return values


def _read_beir(folder: Path, split: str | None) -> list[Question]:
    """The queries that have a gold document in the split."""
    texts = {
        text_field(fields, "_id", place): text_field(fields, "text", place)
        for place, fields in read_json_lines(folder / "queries.jsonl")
    }
    gold: dict[str, dict[Gold, int]] = {}
    for place, (query, document, grade) in _qrels(_split(folder / "qrels", split)):
        if query not in texts:
            raise EvaluationError(f"{place}: queries.jsonl has no query {query!r}; add it, or remove this line")
        if grade > 0:
            gold.setdefault(query, {})[Gold(document)] = grade
    return [Question(query, text, gold[query]) for query, text in texts.items() if query in gold]


def _split(folder: Path, split: str | None) -> Path:
    found = sorted(folder.glob("*.tsv"))
    if not found:
        raise EvaluationError(f"{folder} holds no .tsv file; BEIR's layout is corpus.jsonl, queries.jsonl, qrels/*.tsv")
    names = [path.stem for path in found]
    wanted = split or ("test" if "test" in names else names[0] if len(names) == 1 else None)
    if wanted not in names:
        problem = f"has no split {wanted!r}" if wanted else "has several splits"
        raise EvaluationError(f"{folder} {problem}; choose one with --split: {', '.join(names)}")
    return folder / f"{wanted}.tsv"


def _qrels(path: Path) -> Iterator[tuple[str, tuple[str, str, int]]]:
    for number, (place, line) in enumerate(_lines(path)):
        columns = line.rstrip("\r\n").split("\t")
        if number == 0 and columns[-1].strip() == "score":
            continue  # the header
        try:
            query, document, grade = columns
            yield place, (query, document, int(grade))
        except ValueError:
            raise EvaluationError(
                f"{place} is not query-id, corpus-id and a whole number, with tabs between them"
            ) from None


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"{path}, line {number}", line
    except UnicodeDecodeError:
        raise EvaluationError(f"{path} is not UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise EvaluationError(f"{path} cannot be read: {error.strerror}") from None
