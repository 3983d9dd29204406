"""What a config file's replicas need of each other: how they stop, how they are replaced, and where they listen."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from ray.serve._private.constants import DEFAULT_GRACEFUL_SHUTDOWN_TIMEOUT_S

from serve_app.config.args import AppArgs
from serve_app.config.problems import Problem
from serve_app.config.replicas import ARGS, deployment_path, max_replicas

Deployments = Mapping[str, Mapping[str, Any]]


def scaling_problems(args: AppArgs, deployments: Deployments) -> Iterator[Problem]:
    yield from _ports_for_answers(args, deployments.get("ingress", {}))
    yield from _time_to_stop(args, deployments)
    yield from _policies(deployments)


def _ports_for_answers(args: AppArgs, ingress: Mapping[str, Any]) -> Iterator[Problem]:
    """All replicas of the ingress may be on one node, and a replica that stops keeps its port until it has ended."""
    needed = 2 * max_replicas(ingress)
    if args.api.answer_port and args.api.answer_ports < needed:
        yield (
            f"{ARGS}.api.answer_ports",
            f"is {args.api.answer_ports}, and {needed} replicas of ingress may be on one node, "
            "those that stop among them; set at least that",
        )


def _time_to_stop(args: AppArgs, deployments: Deployments) -> Iterator[Problem]:
    """A replica that stops must finish the answers that it has begun."""
    for name in ("generation", "ingress"):
        given = deployments.get(name, {}).get("graceful_shutdown_timeout_s")
        allowed_s = DEFAULT_GRACEFUL_SHUTDOWN_TIMEOUT_S if given is None else given
        note = " (Serve's default)" if given is None else ""
        if allowed_s < args.api.max_deadline_s:
            yield (
                f"{deployment_path(name)}.graceful_shutdown_timeout_s",
                f"is {allowed_s:g}{note}, and an answer may take "
                f"{args.api.max_deadline_s:g} s ({ARGS}.api.max_deadline_s): a replica that stops would break it off; "
                "set at least that, or lower max_deadline_s",
            )


def _policies(deployments: Deployments) -> Iterator[Problem]:
    """Serve imports a policy only when it deploys, and makes it only when it first decides."""
    for name, deployment in deployments.items():
        policy = (deployment.get("autoscaling_config") or {}).get("policy") or {}
        place, field = policy.get("policy_function"), f"{deployment_path(name)}.autoscaling_config.policy"
        if not isinstance(place, str):
            continue
        module, _, attribute = place.replace(":", ".").rpartition(".")
        try:
            found = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            yield (
                f"{field}.policy_function",
                f"cannot be imported: {error}; name module:attribute",
            )
            continue
        if inspect.isclass(found):
            try:
                found(**(policy.get("policy_kwargs") or {}))
            except (TypeError, ValueError) as error:
                yield f"{field}.policy_kwargs", f"are refused by {place}: {error}"
