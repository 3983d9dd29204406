"""Ten Croatian acts as PDF and as DOCX through `rag ingest`: is the right act among the first three sources?

The acts are rendered twice, each way into a collection of its own, and every answerable question is asked of each.
No baseline: the figures are counts.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import docx
import font_roboto
from fpdf import FPDF

from benchmarks.service import Service, rag, report, running

DEFAULT_DATA = Path(__file__).parents[2] / "shared" / "data" / "croatian-law"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    parser.add_argument("--kinds", nargs="+", choices=["pdf", "docx"], default=["pdf", "docx"])
    parser.add_argument("--verbose", action="store_true", help="print each miss")
    arguments = parser.parse_args()
    acts = [json.loads(path.read_text()) for path in sorted(arguments.data.glob("*.json"))]
    lines = (arguments.data / "questions.jsonl").read_text().splitlines()
    questions = [question for question in map(json.loads, lines) if question["answerable"]]
    figures: dict[str, object] = {"acts": len(acts), "questions": len(questions)}
    with tempfile.TemporaryDirectory(prefix="rag-law-") as folder, running("--no-corpus") as service:
        service.wait_ready()
        for kind in arguments.kinds:
            render = {"pdf": render_pdf, "docx": render_docx}[kind]
            files = Path(folder) / kind
            files.mkdir()
            for act in acts:
                render(act, files / f"{act['id']}.{kind}")
            rag(service, "ingest", str(files), "--collection", f"law-{kind}", "--language", "hr")
            figures[f"{kind}_act_in_top3"] = sum(ask(service, q, kind, arguments.verbose) for q in questions)
            print(f"{kind}: {figures[f'{kind}_act_in_top3']} of {len(questions)}", flush=True)
    report(figures)


def ask(service: Service, question: dict[str, Any], kind: str, verbose: bool) -> bool:
    """Whether one of the first three sources is from an act that holds an answer."""
    right = {gold.split("#")[0] for gold in question["gold"]}
    with service.client() as client:
        answer = client.post(
            "/v1/query", json={"query": question["query"], "collections": [f"law-{kind}"], "stream": False}
        )
    answer.raise_for_status()
    first = [Path(source["document_id"]).stem for source in answer.json()["sources"][:3]]
    found = not right.isdisjoint(first)
    if verbose and not found:
        print(f"  {question['id']}: wanted {sorted(right)}, got {first}")
    return found


def render_pdf(act: dict[str, Any], path: Path) -> None:
    pdf = FPDF()
    pdf.add_font("roboto", fname=font_roboto.Roboto)
    pdf.set_title(act["title"])
    pdf.add_page()
    pdf.set_font("roboto", size=16)
    pdf.multi_cell(0, 8, act["title"], new_x="LMARGIN", new_y="NEXT")
    for provision in act["provisions"]:
        pdf.set_font("roboto", size=12)
        pdf.multi_cell(0, 8, provision["title"], new_x="LMARGIN", new_y="NEXT")
        pdf.set_font("roboto", size=10)
        pdf.multi_cell(0, 5, provision["content"], new_x="LMARGIN", new_y="NEXT")
    pdf.output(str(path))


def render_docx(act: dict[str, Any], path: Path) -> None:
    document = docx.Document()
    document.core_properties.title = act["title"]
    document.add_heading(act["title"], level=1)
    for provision in act["provisions"]:
        document.add_heading(provision["title"], level=2)
        document.add_paragraph(provision["content"])
    document.save(str(path))


if __name__ == "__main__":
    main()
