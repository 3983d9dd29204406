"""`docs/configuration.md`: every setting of a config file, from the classes that check it."""

from __future__ import annotations

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from deployments.config import Beyond, Config, Unit
from rag.reference import markdown
from serve_app.config.args import AppArgs
from serve_app.config.yaml_file import read_yaml
from serve_app.platform.tenant_settings import Settings

ROOT = Path(__file__).parents[2]
CONFIG_FILES = ("cluster/local.yaml", "cluster/single_host.yaml", "serve_config.yaml")

_UNITS_BY_ENDING = {
    "_ms": "milliseconds",
    "_s": "seconds",
    "_mb": "MiB",
    "_gb": "GiB",
    "_bytes": "bytes",
    "_characters": "characters",
    "_tokens": "tokens",
}
_SERVE_SETTINGS = (
    ("http_options.host", "address that the HTTP server listens on", "–"),
    ("http_options.port", "its port", "–"),
    (
        "http_options.keep_alive_timeout_s",
        "silence of a client, in seconds: it begins no request, does not finish a request's head, or reads nothing of "
        "its answer",
        "the connection is closed and its work stops",
    ),
    ("http_options.request_timeout_s", "seconds for any request at all", "504, or the stream breaks off"),
    ("deployments[].max_ongoing_requests", "requests that a replica works on at the same time", "they wait"),
    ("deployments[].max_queued_requests", "requests that wait for a replica, at each caller", "503"),
    (
        "deployments[].graceful_shutdown_timeout_s",
        "seconds for a stopping replica to finish its requests. When `rag up` ends, all replicas together also have "
        "at most `--drain` seconds (5)",
        "streams break off",
    ),
)
"""The settings of Serve that bound what callers send: path, meaning, what happens beyond."""

_INTRODUCTION = """
A config file is a Ray Serve config with one application. `applications[0].args` holds the settings
of this page. `applications[0].deployments` holds scale and resources, in Serve's own words.

`rag config check FILE` checks a file: unknown keys, values out of range, and settings that do not
fit together. Serve itself ignores unknown keys.

Three files come with the project: `cluster/local.yaml` (one machine, no GPU), `cluster/single_host.yaml` (one GPU host)
and `serve_config.yaml` (a GPU cluster). [A table](#values-of-the-files-that-come-with-the-project) shows where they
differ from the defaults.

Everything that a caller can make large, many or slow has a limit here. The column "beyond it" says what happens to a
request or a document that goes beyond. A number is an HTTP status. The routes of OpenAI's and Cohere's APIs answer 400
in place of 422. Every 429 and 503 has a `Retry-After` header.

Environment variables are listed in [Deployment](deployment.md#environment-variables).
"""


def page() -> str:
    """The whole page."""
    return markdown.page(
        (
            "# Configuration",
            markdown.NOTICE,
            *(markdown.paragraph(part) for part in _INTRODUCTION.split("\n\n")),
            *_sections(AppArgs, "args"),
            "## Settings of a tenant",
            markdown.paragraph(
                "A platform key sets them with `PATCH /v1/tenants/{tenant_id}`, as the object `settings`. "
                "They apply to one tenant."
            ),
            *_sections(Settings, "settings", level=3),
            "## Values of the files that come with the project",
            markdown.paragraph("An empty cell is the default. Other settings have their defaults in all three files."),
            _files_table(),
            "## Settings of Ray Serve that are limits",
            markdown.paragraph(
                "`http_options` stands at the top of a config file. Both of its limits need the edge, which `rag up` "
                "and the image install; without it the service says so in its log."
            ),
            _serve_table(),
        )
    )


def settings(model: type[Config], path: str) -> Iterator[tuple[str, type[Config]]]:
    """Each class of settings with the path at which it stands, the given one first."""
    yield path, model
    for name, field in model.model_fields.items():
        if group := _nested(field):
            yield from settings(group, f"{path}.{name}")


def is_group(field: FieldInfo) -> bool:
    """Whether a field is a group of settings with a section of its own."""
    return _nested(field) is not None


def unit(name: str, field: FieldInfo) -> str:
    """What a setting counts, or which values it takes."""
    for annotation in field.metadata:
        if isinstance(annotation, Unit):
            return annotation.name
    kinds = _kinds(field.annotation)
    if values := [value for kind in kinds if get_origin(kind) is Literal for value in get_args(kind)]:
        return ", ".join(f"`{value}`" for value in values)
    if bool in kinds:
        return "`true`, `false`"
    if not {int, float} & set(kinds):
        origins = {get_origin(kind) for kind in kinds}
        return "list" if tuple in origins else "object" if dict in origins else "text"
    for ending, name_of_unit in _UNITS_BY_ENDING.items():
        if name.endswith(ending):
            return name_of_unit
    limits = _limits(field)
    if limits.get("≤") == 1 and limits.get("≥", limits.get(">")) == 0:
        return "share"
    return name.removeprefix("max_").replace("_", " ")


def _sections(model: type[Config], path: str, level: int = 2) -> Iterator[str]:
    for place, kind in settings(model, path):
        rows = [
            (f"`{name}`", _default(field), _unit_and_range(name, field), field.description or "", _beyond(field))
            for name, field in kind.model_fields.items()
            if not is_group(field)
        ]
        if rows:
            yield f"{'#' * level} `{place}`"
            yield "\n\n".join(markdown.paragraph(part) for part in (kind.__doc__ or "").split("\n\n"))
            yield markdown.table(("setting", "default", "unit or values", "meaning", "beyond it"), rows)


def _nested(field: FieldInfo) -> type[Config] | None:
    """The class of a group of settings; None for a single setting."""
    for kind in _kinds(field.annotation):
        if isinstance(kind, type) and issubclass(kind, Config):
            return kind
    return None


def _kinds(annotation: Any) -> tuple[Any, ...]:
    """The types that a setting may have, None left out."""
    origin = get_origin(annotation)
    if origin is Union or origin is types.UnionType:
        return tuple(kind for part in get_args(annotation) for kind in _kinds(part) if part is not type(None))
    if hasattr(annotation, "__value__"):
        return _kinds(annotation.__value__)
    return (annotation,)


def _default(field: FieldInfo) -> str:
    return _shown(field.get_default(call_default_factory=True))


def _shown(value: Any) -> str:
    """A setting's value as cells have it."""
    if value is PydanticUndefined:
        return "required"
    if value is None:
        return "none"
    if isinstance(value, bool | str | dict):
        return markdown.code(value) if value != "" else "empty"
    if isinstance(value, tuple):
        return ", ".join(f"`{item}`" for item in value) or "empty"
    return f"{value:,}" if value == int(value) and abs(value) < 1e15 else f"{value:g}"


def _unit_and_range(name: str, field: FieldInfo) -> str:
    limits = ", ".join(f"{sign} {bound:,}" for sign, bound in _limits(field).items())
    return ", ".join(part for part in (unit(name, field), limits) if part)


def _limits(field: FieldInfo) -> dict[str, Any]:
    """Sign → bound of a number."""
    limits: dict[str, Any] = {}
    for annotation in field.metadata:
        match annotation:
            case annotated_types.Ge(ge=bound):
                limits["≥"] = bound
            case annotated_types.Gt(gt=bound):
                limits[">"] = bound
            case annotated_types.Le(le=bound):
                limits["≤"] = bound
    return limits


def _beyond(field: FieldInfo) -> str:
    return next((note.consequence for note in field.metadata if isinstance(note, Beyond)), "–")


def _files_table() -> str:
    """The settings that at least one of the files gives another value than the default."""
    files = [AppArgs.model_validate(read_yaml(ROOT / name)["applications"][0]["args"]) for name in CONFIG_FILES]
    rows = []
    for path, kind in settings(AppArgs, "args"):
        groups = [_at(args, path) for args in files]
        for name, field in kind.model_fields.items():
            if is_group(field):
                continue
            default = field.get_default(call_default_factory=True)
            cells = ["" if (value := getattr(group, name)) == default else _shown(value) for group in groups]
            if any(cells):
                rows.append((f"`{path}.{name}`".replace("`args.", "`"), _shown(default), *cells))
    return markdown.table(("setting", "default", *(f"`{name}`" for name in CONFIG_FILES)), rows)


def _at(args: AppArgs, path: str) -> Any:
    """The group of settings at a path that begins with `args`."""
    group: Any = args
    for name in path.split(".")[1:]:
        group = getattr(group, name)
    return group


def _serve_table() -> str:
    files = [read_yaml(ROOT / name) for name in CONFIG_FILES]
    rows = [
        (f"`{path}`", *(_values(raw, path) for raw in files), meaning, beyond)
        for path, meaning, beyond in _SERVE_SETTINGS
    ]
    return markdown.table(("setting", *(f"`{name}`" for name in CONFIG_FILES), "meaning", "beyond it"), rows)


def _values(raw: dict[str, Any], path: str) -> str:
    """The value of a setting in a file; of a deployments' setting each value with the deployments that have it."""
    group, _, name = path.partition(".")
    if group == "http_options":
        return f"{raw[group][name]}"
    deployments_of_value: dict[Any, list[str]] = {}
    for deployment in raw["applications"][0]["deployments"]:
        if name in deployment:
            deployments_of_value.setdefault(deployment[name], []).append(deployment["name"])
    return "; ".join(f"{value}: {', '.join(names)}" for value, names in deployments_of_value.items()) or "Serve's own"
