"""A whole evaluation: every question asked of each configuration, measured as it comes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rag.evaluation.asking import Configuration, Service, ask
from rag.evaluation.errors import EvaluationError
from rag.evaluation.measures import Measured, measure
from rag.evaluation.questions import Question

_GIVE_UP_AFTER = 5
"""Failures of the first questions in a row: a service that fails on each is not worth an evaluation."""


@dataclass(frozen=True, slots=True)
class Run:
    """One configuration's replies, in the order of the questions."""

    configuration: Configuration
    measured: tuple[Measured, ...]

    @property
    def failures(self) -> list[Measured]:
        return [one for one in self.measured if one.reply.failure is not None]


def evaluate(
    questions: Sequence[Question],
    configurations: Sequence[tuple[Service, Configuration]],
    *,
    on_question: Callable[[int], object] = lambda done: None,
) -> list[Run]:
    """Ask each question of every configuration before the next one; who is asked first alternates, so that both meet
    the same load. `on_question` gets how many questions are done.

    Raises EvaluationError, and the services' own errors.
    """
    measured: list[list[Measured]] = [[] for _ in configurations]
    for done, question in enumerate(questions):
        order = list(range(len(configurations)))
        for number in order if done % 2 == 0 else reversed(order):
            service, configuration = configurations[number]
            measured[number].append(measure(question, ask(service, question, configuration)))
            _give_up_if_all_failed(measured[number], service)
        on_question(done + 1)
    return [
        Run(configuration, tuple(replies)) for (_, configuration), replies in zip(configurations, measured, strict=True)
    ]


def _give_up_if_all_failed(measured: Sequence[Measured], service: Service) -> None:
    if len(measured) == _GIVE_UP_AFTER and all(one.reply.failure for one in measured):
        raise EvaluationError(
            f"{service.url} failed on each of the first {_GIVE_UP_AFTER} questions: {measured[-1].reply.failure}"
        )
