"""An evaluation as one HTML page that needs nothing else: no script, no font, no address.

It is built as a tree and written by the standard library, which escapes all text and attributes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, tostring

from rag.evaluation.asking import Source
from rag.evaluation.figures import differences, figures
from rag.evaluation.measures import Measured, ranked_labels
from rag.evaluation.report import RANKS_SHOWN
from rag.evaluation.run import Run
from rag.evaluation.wording import LABELS, interval, is_time, written

TEXT_SHOWN = 400
"""Characters of each source."""
_NOT_IN_HTML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .25rem .75rem; text-align: left; vertical-align: top; border-bottom: 1px solid #8884; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.dim { opacity: .65; } .better { color: #1a7f37; } .worse { color: #cf222e; } .gold { font-weight: 600; }
details { border: 1px solid #8884; border-radius: .4rem; margin: .5rem 0; padding: .4rem .8rem; }
summary { cursor: pointer; }
.replies { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1rem; }
.answer { white-space: pre-wrap; overflow-wrap: anywhere; border-left: 3px solid #8888; padding-left: .75rem; }
li { overflow-wrap: anywhere; }
"""


def page(runs: Sequence[Run], title: str) -> str:
    """The whole page: the figures, then each question with what every configuration found and answered."""
    html = Element("html", lang="en")
    head = SubElement(html, "head")
    SubElement(head, "meta", charset="utf-8")
    policy = {"http-equiv": "Content-Security-Policy", "content": "default-src 'none'; style-src 'unsafe-inline'"}
    SubElement(head, "meta", policy)
    SubElement(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    _add(head, "title", title)
    SubElement(head, "style").text = _STYLE  # not escaped in HTML, and holds nothing of others
    body = SubElement(html, "body")
    _add(body, "h1", title)
    _add(body, "p", f"{len(runs[0].measured)} questions. Intervals hold 95 % of what resampled questions give.", "dim")
    _figures(body, runs)
    _add(body, "h2", "Questions")
    for replies in zip(*(run.measured for run in runs), strict=True):
        _question(body, replies, [run.configuration.name for run in runs])
    return "<!DOCTYPE html>\n" + tostring(html, encoding="unicode", method="html") + "\n"


def _figures(body: Element, runs: Sequence[Run]) -> None:
    table = SubElement(body, "table")
    names = ["", *(run.configuration.name for run in runs), *(["difference"] if len(runs) == 2 else [])]
    header = SubElement(table, "tr")
    for name in names:
        _add(header, "th", name)
    by_run = [figures(run.measured) for run in runs]
    between = differences(runs[0].measured, runs[1].measured) if len(runs) == 2 else {}
    for name in LABELS:
        if not any(name in found for found in by_run):
            continue
        row = SubElement(table, "tr")
        _add(row, "td", LABELS[name])
        for found in by_run:
            cell = SubElement(row, "td", {"class": "number"})
            if figure := found.get(name):
                _add(cell, "span", written(name, figure.value))
                _add(cell, "div", interval(name, figure.low, figure.high), "dim")
        if difference := between.get(name):
            cell = SubElement(row, "td", {"class": "number"})
            good = "better" if (difference.value > 0) != is_time(name) else "worse"
            _add(cell, "span", written(name, difference.value, signed=True), good if difference.is_clear else "")
            _add(cell, "div", interval(name, difference.low, difference.high, signed=True), "dim")


def _question(body: Element, replies: Sequence[Measured], names: Sequence[str]) -> None:
    question = replies[0].question
    details = SubElement(body, "details")
    summary = SubElement(details, "summary")
    _add(summary, "span", f"{question.id}: {question.text} ")
    values = [reply.values.get("ndcg@10") for reply in replies]
    _add(summary, "span", " → ".join("–" if value is None else f"{value:.3f}" for value in values), "dim")
    if question.gold:
        _add(details, "p", f"Gold: {', '.join(str(gold) for gold in question.gold)}")
    if question.key_facts:
        _add(details, "p", f"Key facts: {' · '.join(question.key_facts)}")
    if not question.answerable:
        _add(details, "p", "Nothing answers it.")
    side_by_side = SubElement(details, "div", {"class": "replies"})
    for reply, name in zip(replies, names, strict=True):
        _reply(SubElement(side_by_side, "section"), reply, name)


def _reply(section: Element, measured: Measured, name: str) -> None:
    _add(section, "h3", name)
    if measured.reply.failure:
        _add(section, "p", f"Failed: {measured.reply.failure}", "worse")
    found = [f"{LABELS[name]} {written(name, value)}" for name, value in measured.values.items()]
    _add(section, "p", " · ".join(found), "dim")
    if (answer := measured.reply.answer) is not None:
        sure = "" if answer.confidence is None else f", confidence {answer.confidence:.2f}"
        _add(section, "p", f"{'Answered' if answer.is_given else 'Not answered'}{sure}:", "dim")
        _add(section, "div", answer.text, "answer")
        _sources(section, measured, answer.sources)
    if measured.reply.found is not None:
        labels = ranked_labels(measured.question, measured.reply)[:RANKS_SHOWN]
        _add(section, "p", "Found:")
        ranks = SubElement(section, "ol")
        gold = {str(one) for one in measured.question.gold}
        for label in labels:
            _add(ranks, "li", label, "gold" if label in gold else "")


def _sources(section: Element, measured: Measured, sources: Sequence[Source]) -> None:
    shown = SubElement(section, "ol")
    for source in sources:
        is_gold = any(source.at.is_of(gold) for gold in measured.question.gold)
        item = SubElement(shown, "li")
        _add(item, "span", " › ".join((source.at.document_id, *source.at.headings)), "gold" if is_gold else "")
        _add(item, "div", source.text[:TEXT_SHOWN] + ("…" if len(source.text) > TEXT_SHOWN else ""), "dim")


def _add(parent: Element, tag: str, text: str, style: str = "") -> None:
    element = SubElement(parent, tag, {"class": style} if style else {})
    element.text = _NOT_IN_HTML.sub("", text)
