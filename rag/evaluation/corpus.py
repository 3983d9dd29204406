"""A BEIR folder's documents as Markdown files, to be handed in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rag.evaluation.errors import EvaluationError
from rag.evaluation.questions import read_json_lines, text_field


@dataclass(frozen=True, slots=True)
class CorpusFile:
    """`name`: what the document is to be called in the service, its corpus id and `.md`."""

    path: Path
    name: str


def write_corpus(folder: Path, into: Path) -> list[CorpusFile]:
    """Write each document of `folder`/corpus.jsonl to a Markdown file, its title as the heading, in the corpus' order.

    Empty documents are left out. Raises EvaluationError.
    """
    files: list[CorpusFile] = []
    for number, (place, fields) in enumerate(read_json_lines(folder / "corpus.jsonl")):
        document_id = text_field(fields, "_id", place)
        title, text = (fields.get(name) or "" for name in ("title", "text"))
        if not isinstance(title, str) or not isinstance(text, str):
            raise EvaluationError(f"{place}: the fields 'title' and 'text' must be text")
        parts = [f"# {' '.join(title.split())}" if title.strip() else "", text.strip()]
        if content := "\n\n".join(part for part in parts if part):
            path = into / f"{number}.md"
            path.write_text(content + "\n", encoding="utf-8")
            files.append(CorpusFile(path, f"{document_id}.md"))
    return files
