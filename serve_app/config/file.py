"""The config file's check: a Serve config whose `applications[0].args` are AppArgs.

Serve ignores keys that it does not know and learns of impossible combinations when a replica dies. Here both are
refused before anything starts, each with the field's dotted path and what to do.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, TypeAlias, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from ray.serve.schema import ServeDeploySchema

from serve_app.config.args import AppArgs

IMPORT_PATH = "serve_app.app:build_app"
DEPLOYMENTS = ("embedding", "retrieval", "reranking", "generation", "ingestion", "ingress")
BOUNDS = ("max_ongoing_requests", "max_queued_requests")
_ARGS = "applications.0.args"
_AUTO_MAX_REPLICAS = 100
"""What Serve makes of `num_replicas: auto` where no max_replicas is given."""
_PLACEMENT = (
    "ray_actor_options",
    "placement_group_bundles",
    "placement_group_strategy",
    "placement_group_bundle_label_selector",
)


Problem: TypeAlias = tuple[str, str]
"""A field's dotted path, and what is wrong with it and how to mend it."""


class ConfigError(Exception):
    """Why a file can't be started from. `problems`: one line each, beginning with the field."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(self.problems)


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A checked file. `raw` is what Serve is given, `args` the application's part of it."""

    path: Path
    raw: dict[str, Any]
    args: AppArgs

    def with_data_dir(self, folder: Path) -> ConfigFile:
        """The same with another data folder, for Serve and for the reader alike."""
        raw = copy.deepcopy(self.raw)
        application = raw["applications"][0]
        application["args"] = {**(application.get("args") or {}), "data_dir": str(folder)}
        return ConfigFile(self.path, raw, self.args.model_copy(update={"data_dir": str(folder)}))


def load(path: Path) -> ConfigFile:
    """Read and check a config file. Raises ConfigError with every problem found."""
    raw = _read(path)
    _refuse([*_misfits(raw, ServeDeploySchema, ""), *_invalid(raw, ServeDeploySchema, "")])
    applications = raw["applications"]
    if len(applications) != 1:
        _refuse([("applications", f"{len(applications)} are listed; exactly one is expected, {IMPORT_PATH}")])
    given = applications[0].get("args") or {}
    _refuse([*_misfits(given, AppArgs, _ARGS), *_invalid(given, AppArgs, _ARGS)])
    args = AppArgs.model_validate(given)
    _refuse(list(_impossible(raw, args)))
    return ConfigFile(path, raw, args)


def _refuse(problems: list[Problem]) -> None:
    """Raise if there are any; of several about one field, the first is the clearest."""
    told: dict[str, str] = {}
    for field, message in problems:
        told.setdefault(field or "file", message)
    if told:
        raise ConfigError([f"{field}: {message}" for field, message in told.items()])


class _StrictLoader(yaml.SafeLoader):
    """YAML says that keys are unique; PyYAML keeps the last one and says nothing."""


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, "a key must be plain text", key_node.start_mark)
        if key_node.value in seen:
            raise yaml.constructor.ConstructorError(None, None, f"{key_node.value} is given twice", key_node.start_mark)
        seen.add(key_node.value)
    loader.flatten_mapping(node)
    return {loader.construct_object(key): loader.construct_object(value, deep=True) for key, value in node.value}


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError([f"file: {error.strerror}; name an existing one"]) from None
    except UnicodeDecodeError:
        raise ConfigError(["file: not UTF-8 text; save it as UTF-8"]) from None
    try:
        raw = yaml.load(text, _StrictLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError([f"line {line}: not valid YAML: {error.problem or error.context}"]) from None
    except yaml.YAMLError as error:
        raise ConfigError([f"file: not valid YAML: {error}"]) from None
    if not isinstance(raw, dict):
        raise ConfigError(["file: must be a mapping of Serve's config keys; see cluster/local.yaml"])
    return raw


# --- Keys and shapes, by walking the pydantic models.


def _misfits(value: Any, annotation: Any, where: str) -> Iterator[Problem]:
    """Unknown keys, wrong shapes, and the contents of models that their parent accepts as plain mappings."""
    options = _options(annotation)
    model = next((option for option in options if _is_model(option)), None)
    items = next((get_args(option)[0] for option in options if get_origin(option) is list), None)
    if model is not None:
        if not isinstance(value, Mapping):
            yield where, "a mapping is expected here"
            return
        yield from _unknown_keys(value, model, where)
        if dict in options:
            # Union[dict, Model]: pydantic is content with the dict, and Serve finds out when it deploys.
            yield from _invalid(value, model, where)
    elif items is not None and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _misfits(item, items, _join(where, _item_name(index, item, items)))


def _unknown_keys(value: Mapping[Any, Any], model: type[BaseModel], where: str) -> Iterator[Problem]:
    fields = model.model_fields
    for key, inner in value.items():
        if key not in fields:
            close = difflib.get_close_matches(str(key), fields, n=1)
            remedy = f"did you mean {close[0]}?" if close else f"known here: {', '.join(fields)}"
            yield _join(where, key), f"unknown key; {remedy}"
        elif inner is not None:
            yield from _misfits(inner, fields[key].annotation, _join(where, key))


def _options(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, else the annotation alone; `Dict` and `dict[…]` count as dict."""
    members = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return tuple(dict if get_origin(member) is dict else member for member in members)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _item_name(index: int, item: Any, annotation: Any) -> str:
    """Deployments are shown by name, other items by place."""
    named = _is_model(annotation) and annotation.__name__ == "DeploymentSchema" and isinstance(item, Mapping)
    return str(item["name"]) if named and isinstance(item.get("name"), str) else str(index)


def _join(*parts: Any) -> str:
    return ".".join(str(part) for part in parts if part != "")


# --- What the models themselves refuse.


def _invalid(value: Any, model: type[BaseModel], where: str) -> list[Problem]:
    try:
        model.model_validate(copy.deepcopy(value))
    except ValidationError as error:
        return [
            (_join(where, _place(value, issue["loc"], issue["type"])), _message(issue))
            for issue in error.errors()
            if issue["type"] != "extra_forbidden"  # told by _misfits, with a hint
        ]
    except (AttributeError, TypeError):
        return []  # a validator of Serve's met a shape that it did not expect; _misfits has told
    except (ValueError, ImportError) as error:
        return [(where, str(error))]
    return []


def _place(value: Any, loc: tuple[int | str, ...], kind: str) -> str:
    """The dotted path without the names of union members that pydantic adds to it."""
    parts: list[str] = []
    for part in loc:
        if isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
            by_name = (
                parts[-1:] == ["deployments"] and isinstance(value, Mapping) and isinstance(value.get("name"), str)
            )
            parts.append(value["name"] if by_name else str(part))
        elif isinstance(value, Mapping) and part in value:
            value = value[part]
            parts.append(str(part))
        elif kind == "missing":
            parts.append(str(part))
    return ".".join(parts)


def _message(issue: Any) -> str:
    message: str = issue["msg"].removeprefix("Value error, ")
    if issue["type"] == "missing":
        return "is missing; set it"
    # Only values that cannot be a secret are repeated.
    if issue["type"] in ("literal_error", "enum") or isinstance(issue["input"], int | float | bool):
        return f"{message}, not {issue['input']!r}"
    return message


# --- What each part allows, but not together.


def _impossible(raw: Mapping[str, Any], args: AppArgs) -> Iterator[Problem]:
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
            yield _at(name), "is listed twice; keep one"
        elif name not in DEPLOYMENTS:
            close = difflib.get_close_matches(name, DEPLOYMENTS, n=1)
            remedy = f"did you mean {close[0]}?" if close else f"there are {', '.join(DEPLOYMENTS)}"
            yield _at(name), f"no such deployment; {remedy}"
        deployments[name] = deployment
    for name in DEPLOYMENTS:
        yield from _unbounded(name, deployments.get(name))
    yield from _waiting(args, deployments.get("ingress", {}))
    yield from _endless(raw.get("http_options") or {}, args)
    yield from _shared_stores(args, deployments)
    yield from _devices(args, deployments)
    yield from _generation(args, deployments.get("generation", {}))


def _at(name: str) -> str:
    return f"applications.0.deployments.{name}"


def _unbounded(name: str, deployment: Mapping[str, Any] | None) -> Iterator[Problem]:
    if deployment is None:
        yield _at(name), f"is missing; list it with its bounds, {' and '.join(BOUNDS)}"
        return
    for bound in BOUNDS:
        if deployment.get(bound, -1) == -1:
            yield f"{_at(name)}.{bound}", "is missing, and Serve's default does not fit; set a number above 0"


def _waiting(args: AppArgs, ingress: Mapping[str, Any]) -> Iterator[Problem]:
    """Questions wait in the ingress, where the queue is fair, and not in Serve's queue before it."""
    ongoing, waiting = ingress.get("max_ongoing_requests", 0), args.admission.max_waiting_in_all
    if 0 < ongoing <= waiting:
        yield (
            f"{_at('ingress')}.max_ongoing_requests",
            f"is {ongoing}, and {_ARGS}.admission.max_waiting_in_all lets {waiting} questions wait in it; "
            "set it well above",
        )


def _endless(options: Mapping[str, Any], args: AppArgs) -> Iterator[Problem]:
    """Serve's own time limit is for what is left of a request when everything of ours has failed."""
    longest = max(args.api.max_deadline_s, args.api.max_job_events_s)
    given = options.get("request_timeout_s")
    if given is None or given <= longest:
        yield (
            "http_options.request_timeout_s",
            f"{'is missing' if given is None else f'is {given:g}'}, and an answer may take {longest:g} s "
            f"({_ARGS}.api.max_deadline_s, max_job_events_s); set more than that",
        )


def _shared_stores(args: AppArgs, deployments: Mapping[str, Mapping[str, Any]]) -> Iterator[Problem]:
    """An embedded store has one owner, which build_app puts on the head node."""
    for store, owners in args.local_stores().items():
        remedy = f"or point {_ARGS}.{store} at a server"
        for owner in owners:
            deployment = deployments.get(owner, {})
            replicas = most_replicas(deployment)
            if replicas > 1:
                field = "autoscaling_config.max_replicas" if deployment.get("autoscaling_config") else "num_replicas"
                yield (
                    f"{_at(owner)}.{field}",
                    f"allows {replicas} replicas, but {_ARGS}.{store} is a local store with one owner; "
                    f"allow 1 replica, {remedy}",
                )
            if deployment.get("max_surge_percent"):
                yield (
                    f"{_at(owner)}.max_surge_percent",
                    f"lets a replacement start beside the one owner of the local store {_ARGS}.{store}; "
                    f"remove it, {remedy}",
                )
            if deployment.get("ray_actor_options"):
                yield (
                    f"{_at(owner)}.ray_actor_options",
                    f"would move the owner of the local store {_ARGS}.{store} off the head node; remove it, {remedy}",
                )


def most_replicas(deployment: Mapping[str, Any]) -> int:
    """How many replicas a deployment may grow to."""
    scaling = deployment.get("autoscaling_config") or {}
    replicas = deployment.get("num_replicas")
    if replicas == "auto":
        return int(scaling.get("max_replicas") or _AUTO_MAX_REPLICAS)
    return int(scaling.get("max_replicas") or replicas or 1)


def _devices(args: AppArgs, deployments: Mapping[str, Mapping[str, Any]]) -> Iterator[Problem]:
    for name, stage in (("embedding", args.embedding), ("reranking", args.reranking)):
        if stage.backend == "fake":
            continue
        gpus = (deployments.get(name, {}).get("ray_actor_options") or {}).get("num_gpus") or 0
        field = f"{_at(name)}.ray_actor_options.num_gpus"
        if stage.device == "cuda" and gpus <= 0:
            yield field, f"is missing, but {_ARGS}.{name}.device is cuda; set a share of a GPU, e.g. 0.25"
        if stage.device == "cpu" and gpus > 0:
            yield field, f"reserves a GPU that {_ARGS}.{name}.device: cpu leaves idle; set device: cuda, or remove it"


def _generation(args: AppArgs, deployment: Mapping[str, Any]) -> Iterator[Problem]:
    if args.generation.engine not in ("vllm", "auto"):
        return
    for field in _PLACEMENT:
        if deployment.get(field):
            yield (
                f"{_at('generation')}.{field}",
                "would replace what ray.serve.llm sets for vLLM; remove it and set "
                f"{_ARGS}.generation.cpus, accelerator_type or tensor_parallel_size",
            )
