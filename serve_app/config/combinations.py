"""What each part of a config file allows, but not together."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from serve_app.config.args import AppArgs
from serve_app.config.problems import Problem
from serve_app.config.replicas import ARGS, deployment_path, max_replicas
from serve_app.config.scaling import scaling_problems

IMPORT_PATH = "serve_app.app:build_app"
DEPLOYMENTS = ("embedding", "retrieval", "reranking", "generation", "ingestion", "ingress")
BOUNDS = ("max_ongoing_requests", "max_queued_requests")
_PLACEMENT = (
    "ray_actor_options",
    "placement_group_bundles",
    "placement_group_strategy",
    "placement_group_bundle_label_selector",
)


def combination_problems(raw: Mapping[str, Any], args: AppArgs) -> Iterator[Problem]:
    application = raw["applications"][0]
    if application["import_path"] != IMPORT_PATH:
        yield "applications.0.import_path", f"must be {IMPORT_PATH}, not {application['import_path']}"
    if application.get("route_prefix", "/") != "/":
        yield "applications.0.route_prefix", "the service's paths are fixed; remove it"
    if not (raw.get("http_options") or {}).get("host"):
        yield (
            "http_options.host",
            "is missing, and Serve would then listen on all interfaces; set 127.0.0.1, or 0.0.0.0 if that is meant",
        )
    deployments: dict[str, Mapping[str, Any]] = {}
    for deployment in application.get("deployments") or []:
        name = deployment["name"]
        if name in deployments:
            yield deployment_path(name), "is listed twice; keep one"
        elif name not in DEPLOYMENTS:
            close = difflib.get_close_matches(name, DEPLOYMENTS, n=1)
            remedy = f"did you mean {close[0]}?" if close else f"there are {', '.join(DEPLOYMENTS)}"
            yield deployment_path(name), f"no such deployment; {remedy}"
        deployments[name] = deployment
    for name in DEPLOYMENTS:
        yield from _missing_bounds(name, deployments.get(name))
    yield from _ingress_queue(args, deployments.get("ingress", {}))
    yield from _request_timeout(raw.get("http_options") or {}, args)
    yield from _shared_stores(args, deployments)
    yield from scaling_problems(args, deployments)
    yield from _devices(args, deployments)
    yield from _generation(args, deployments.get("generation", {}))


def _missing_bounds(name: str, deployment: Mapping[str, Any] | None) -> Iterator[Problem]:
    if deployment is None:
        yield deployment_path(name), f"is missing; list it with its bounds, {' and '.join(BOUNDS)}"
        return
    for bound in BOUNDS:
        if deployment.get(bound, -1) == -1:
            yield (
                f"{deployment_path(name)}.{bound}",
                "is missing, and Serve's default does not fit; set a number above 0",
            )


def _ingress_queue(args: AppArgs, ingress: Mapping[str, Any]) -> Iterator[Problem]:
    """Questions must wait in the ingress, where the queue is fair, and not in Serve's queue before it."""
    ongoing, waiting = ingress.get("max_ongoing_requests", 0), args.admission.max_waiting_in_all
    if 0 < ongoing <= waiting:
        yield (
            f"{deployment_path('ingress')}.max_ongoing_requests",
            f"is {ongoing}, and {ARGS}.admission.max_waiting_in_all lets {waiting} questions wait in it; "
            "set it well above",
        )


def _request_timeout(options: Mapping[str, Any], args: AppArgs) -> Iterator[Problem]:
    """Serve's own time limit is the last resort: it must exceed every limit of the service's."""
    longest_s = max(args.api.max_deadline_s, args.api.max_job_events_s)
    given = options.get("request_timeout_s")
    if given is None or given <= longest_s:
        yield (
            "http_options.request_timeout_s",
            f"{'is missing' if given is None else f'is {given:g}'}, and an answer may take {longest_s:g} s "
            f"({ARGS}.api.max_deadline_s, max_job_events_s); set more than that",
        )


def _shared_stores(args: AppArgs, deployments: Mapping[str, Mapping[str, Any]]) -> Iterator[Problem]:
    """An embedded store has one owner, which build_app puts on the head node."""
    for store, owners in args.local_stores().items():
        remedy = f"or point {ARGS}.{store} at a server"
        for owner in owners:
            deployment = deployments.get(owner, {})
            replicas = max_replicas(deployment)
            if replicas > 1:
                field = "autoscaling_config.max_replicas" if deployment.get("autoscaling_config") else "num_replicas"
                yield (
                    f"{deployment_path(owner)}.{field}",
                    f"allows {replicas} replicas, but {ARGS}.{store} is a local store with one owner; "
                    f"allow 1 replica, {remedy}",
                )
            if deployment.get("max_surge_percent"):
                yield (
                    f"{deployment_path(owner)}.max_surge_percent",
                    f"lets a replacement start beside the one owner of the local store {ARGS}.{store}; "
                    f"remove it, {remedy}",
                )
            if deployment.get("ray_actor_options"):
                yield (
                    f"{deployment_path(owner)}.ray_actor_options",
                    f"would move the owner of the local store {ARGS}.{store} off the head node; remove it, {remedy}",
                )


def _devices(args: AppArgs, deployments: Mapping[str, Mapping[str, Any]]) -> Iterator[Problem]:
    for name, stage in (("embedding", args.embedding), ("reranking", args.reranking)):
        if stage.backend == "fake":
            continue
        gpus = (deployments.get(name, {}).get("ray_actor_options") or {}).get("num_gpus") or 0
        field = f"{deployment_path(name)}.ray_actor_options.num_gpus"
        if stage.device == "cuda" and gpus <= 0:
            yield field, f"is missing, but {ARGS}.{name}.device is cuda; set a share of a GPU, e.g. 0.25"
        if stage.device == "cpu" and gpus > 0:
            yield field, f"reserves a GPU that {ARGS}.{name}.device: cpu leaves idle; set device: cuda, or remove it"


def _generation(args: AppArgs, deployment: Mapping[str, Any]) -> Iterator[Problem]:
    if args.generation.engine not in ("vllm", "auto"):
        return
    for field in _PLACEMENT:
        if deployment.get(field):
            yield (
                f"{deployment_path('generation')}.{field}",
                "would replace what ray.serve.llm sets for vLLM; remove it and set "
                f"{ARGS}.generation.cpus, accelerator_type, tensor_parallel_size or one_node",
            )
