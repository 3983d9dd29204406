"""How figures are called and written, in the terminal and on the page."""

from __future__ import annotations

import math

LABELS = {
    "ndcg@10": "nDCG@10",
    "recall@10": "recall@10",
    "mrr@10": "MRR@10",
    "facts_in_sources": "all key facts in the sources",
    "facts_in_first_three": "… in the first three sources",
    "facts_in_answer": "… in the answer",
    "citation_precision": "citation precision",
    "citation_recall": "citation recall",
    "first_citation_right": "first citation right",
    "answered": "answerable ones answered",
    "refused": "unanswerable ones refused",
    "balanced_accuracy": "balanced accuracy of answering",
    "answering_auc": "AUC of answering",
    "sources_ms_p50": "sources after, p50",
    "sources_ms_p95": "sources after, p95",
    "answer_ms_p50": "whole answer after, p50",
    "answer_ms_p95": "whole answer after, p95",
    "sources_ms": "sources after",
    "answer_ms": "whole answer after",
}


def is_time(name: str) -> bool:
    return "_ms" in name


def written(name: str, value: float, *, signed: bool = False) -> str:
    """A figure as people read it: milliseconds without decimals, everything else with three; `–` for none."""
    if math.isnan(value):
        return "–"
    sign = "+" if signed else ""
    return f"{value:{sign}.0f} ms" if is_time(name) else f"{value:{sign}.3f}"


def interval(name: str, low: float, high: float, *, signed: bool = False) -> str:
    if math.isnan(low) or math.isnan(high):
        return ""
    return f"{written(name, low, signed=signed).removesuffix(' ms')} … {written(name, high, signed=signed)}"
