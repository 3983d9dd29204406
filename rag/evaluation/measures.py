"""What one question's reply is worth, by measure. A measure that does not apply to a question is left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rag.evaluation.asking import Answer, Reply, Source
from rag.evaluation.facts import hold_all, within
from rag.evaluation.gold import rank_labels
from rag.evaluation.questions import Question
from rag.evaluation.ranking import ndcg, recall, reciprocal_rank

CUTOFF = 10
"""Results that the measures of rankings look at. Their names have the number too."""
FIRST_SOURCES = 3
"""Sources that `facts_in_first_three` looks at."""
SOURCES_CHARACTERS = 24_000
"""Facts are looked for in so many characters of an answer's sources."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A question, its reply, and the reply's values by measure."""

    question: Question
    reply: Reply
    values: Mapping[str, float]

    @property
    def is_answered(self) -> bool:
        return self.reply.answer is not None and self.reply.answer.is_given

    @property
    def confidence(self) -> float | None:
        """The answer's confidence, from 0 to 1. None if no answer was asked for.

        If the service gives none, it is 1 for an answer and 0 for a refusal. If the service failed, it is the worst
        value: 0 for a question that can be answered, 1 for one that cannot.
        """
        if self.reply.answer is None:
            return float(not self.question.answerable) if self.reply.answer_expected else None
        said = self.reply.answer.confidence
        return said if said is not None else float(self.is_answered)


def measure(question: Question, reply: Reply) -> Measured:
    """Where the service failed, everything that applies is 0, refusing too, and there are no times."""
    values = _ranking(question, reply)
    if reply.answer_expected:
        values |= _answer(question, reply.answer)
    return Measured(question, reply, values)


def ranked_labels(question: Question, reply: Reply) -> list[str]:
    """The labels (see `rank_labels`) of what was found, best first: by the search, or else as the answer's sources."""
    found = reply.found if reply.found is not None else reply.answer.sources if reply.answer else ()
    return rank_labels((source.at for source in found), list(question.gold))


def _ranking(question: Question, reply: Reply) -> dict[str, float]:
    if not question.gold:
        return {}
    ranked = ranked_labels(question, reply)
    grades = {str(gold): grade for gold, grade in question.gold.items()}
    return {
        "ndcg@10": ndcg(ranked, grades, CUTOFF),
        "recall@10": recall(ranked, grades, CUTOFF),
        "mrr@10": reciprocal_rank(ranked, grades, CUTOFF),
    }


def _answer(question: Question, answer: Answer | None) -> dict[str, float]:
    given = answer is not None and answer.is_given
    is_right = answer is not None and given == question.answerable
    values = {"answered" if question.answerable else "refused": float(is_right)}
    if question.key_facts:
        texts = within((source.text for source in answer.sources), SOURCES_CHARACTERS) if answer else []
        values["facts_in_sources"] = float(hold_all(texts, question.key_facts))
        values["facts_in_first_three"] = float(hold_all(texts[:FIRST_SOURCES], question.key_facts))
        values["facts_in_answer"] = float(hold_all([answer.text] if answer else [], question.key_facts))
    if answer is not None:
        if given and question.gold:
            values |= _citations(question, answer)
        values["sources_ms"] = answer.sources_ms
        values["answer_ms"] = answer.total_ms
    return values


def _citations(question: Question, answer: Answer) -> dict[str, float]:
    """The measures of citations of an answer that was given. One that cites nothing has a precision of 0."""
    by_id = {source.id: source for source in answer.sources}
    cited = list(dict.fromkeys(passage for citation in answer.citations for passage in citation))
    right = [passage for passage in cited if passage in by_id and _is_gold(by_id[passage], question)]
    cited_gold = {gold for gold in question.gold for passage in right if by_id[passage].at.is_of(gold)}
    return {
        "citation_precision": len(right) / len(cited) if cited else 0.0,
        "citation_recall": len(cited_gold) / len(question.gold),
        "first_citation_right": float(bool(cited) and cited[0] in right),
    }


def _is_gold(source: Source, question: Question) -> bool:
    return any(source.at.is_of(gold) for gold in question.gold)
