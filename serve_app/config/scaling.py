"""What a config file's replicas need of each other: how they stop, how they are replaced, and where they listen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from serve_app.config.args import AppArgs
from serve_app.config.problems import Problem
from serve_app.config.replicas import ARGS, max_replicas

Deployments = Mapping[str, Mapping[str, Any]]


def scaling_problems(args: AppArgs, deployments: Deployments) -> Iterator[Problem]:
    yield from _ports_for_answers(args, deployments.get("ingress", {}))


def _ports_for_answers(args: AppArgs, ingress: Mapping[str, Any]) -> Iterator[Problem]:
    """All replicas of the ingress may be on one node, and a replica that stops keeps its port until it has ended."""
    needed = 2 * max_replicas(ingress)
    if args.api.answer_port and args.api.answer_ports < needed:
        yield (
            f"{ARGS}.api.answer_ports",
            f"is {args.api.answer_ports}, and {needed} replicas of ingress may be on one node, "
            "those that stop among them; set at least that",
        )
