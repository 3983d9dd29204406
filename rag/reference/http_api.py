"""`docs/http-api.md`: every route with its fields, answers, errors and examples, from the OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rag.reference import markdown
from serve_app.api.app import openapi_document

_TITLES = {
    "query": "Questions and search",
    "query log": "Query log",
    "usage": "Usage",
    "documents": "Documents",
    "reindex": "Reindexing",
    "retention": "Retention",
    "jobs": "Jobs",
    "collections": "Collections",
    "keys": "Keys",
    "tenants": "Tenants",
    "audit": "Audit log",
    "commands": "Commands",
    "openai": "OpenAI's API",
    "cohere": "Cohere's API",
    "operations": "Health and errors",
}
"""Tag of a route → the heading under which it stands."""

_INTRODUCTION = """
A request carries its key in the header `Authorization: Bearer KEY`. Bodies are JSON unless a route says otherwise.
The service itself serves this reference as an OpenAPI document at `/openapi.json`, and as a page at `/docs`.

Clients must expect new fields in answers. Unknown fields in requests are refused.

A list has at most `limit` rows. Its `next` is the `after` of the next page; null says that the page is the last one.
Two lists have no `next`: `/v1/keys` gives all keys, and
`/v1/models` all models.
"""

Document = dict[str, Any]


def page() -> str:
    """The whole page."""
    document = openapi_document()
    reference = _Reference(document)
    parts = list(reference.routes())
    return markdown.page(
        (
            "# HTTP API",
            markdown.NOTICE,
            *(markdown.paragraph(part) for part in _INTRODUCTION.split("\n\n")),
            *reference.overview(),
            *parts,
            "## Errors",
            markdown.paragraph(
                "An error is `application/problem+json` (RFC 9457). `detail` names the field and the remedy. A request "
                "may be sent again as it is only if `retryable` is true. Wait as many seconds as the header "
                "`Retry-After` says: each 429, each 503 and `request_in_progress` has it. 502 and 504 have none."
            ),
            markdown.paragraph(
                "The routes of OpenAI's and Cohere's APIs send the same errors in the form of their API, and with 400 "
                "in place of 422."
            ),
            reference.errors(),
            "## Objects",
            *reference.objects(),
        )
    )


class _Reference:
    def __init__(self, document: Document) -> None:
        self._document = document
        self._schemas: dict[str, Any] = document["components"]["schemas"]
        self._linked: dict[str, None] = {}

    def overview(self) -> Iterator[str]:
        rows = [
            (f"[`{method} {path}`](#{_anchor(method, path)})", _first_sentence(operation))
            for method, path, operation in self._operations()
        ]
        yield "## All routes"
        yield markdown.table(("route", "what it does"), rows)

    def routes(self) -> Iterator[str]:
        """The routes, under a heading for each tag."""
        heading = None
        for method, path, operation in self._operations():
            if heading != (heading := _TITLES[operation["tags"][0]]):
                yield f"## {heading}"
            yield f"### {method} {path}"
            yield from (markdown.paragraph(part) for part in operation.get("description", "").split("\n\n"))
            yield from self._parameters(operation)
            yield from self._request(operation)
            yield from self._answers(operation)

    def errors(self) -> str:
        rows = [
            (f"`{code}`", str(value["status"]), "yes" if value["retryable"] else "no", value["title"], value["detail"])
            for code, value in (
                (code, example["value"]) for code, example in self._document["components"]["examples"].items()
            )
        ]
        return markdown.table(("code", "status", "retryable", "title", "an example of `detail`"), rows)

    def objects(self) -> Iterator[str]:
        """The objects that the routes refer to, and those that these refer to."""
        shown: set[str] = set()
        while waiting := [name for name in self._linked if name not in shown]:
            shown.add(waiting[0])
            schema = self._schemas[waiting[0]]
            yield f"### {waiting[0]}"
            yield from (markdown.paragraph(part) for part in schema.get("description", "").split("\n\n"))
            yield self._fields(schema) or markdown.paragraph(f"Type: {self._type(schema)}.")

    def _operations(self) -> Iterator[tuple[str, str, Document]]:
        found = [
            (method.upper(), path, operation)
            for path, item in self._document["paths"].items()
            for method, operation in item.items()
        ]
        order = list(_TITLES)
        yield from sorted(found, key=lambda route: order.index(route[2]["tags"][0]))

    def _parameters(self, operation: Document) -> Iterator[str]:
        parameters = [self._resolve(parameter) for parameter in operation.get("parameters", ())]
        rows = [
            (
                f"`{parameter['name']}`",
                parameter["in"],
                self._type(parameter["schema"]) + (", required" if parameter.get("required") else ""),
                parameter.get("description") or parameter["schema"].get("description", ""),
            )
            for parameter in parameters
            if parameter["name"] != "X-Request-ID"
        ]
        if rows:
            yield markdown.table(("parameter", "in", "type", "meaning"), rows)

    def _request(self, operation: Document) -> Iterator[str]:
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
            schema = self._resolve(content["schema"])
            yield f"Body, `{media_type}`:"
            alternatives = schema.get("oneOf") or schema.get("anyOf") or [schema]
            yield self._fields(schema) or "\n".join(f"- {self._type(part)}" for part in alternatives)
            if shown := example(schema):
                yield markdown.json_block(shown)

    def _answers(self, operation: Document) -> Iterator[str]:
        codes_of_status: dict[str, list[str]] = {}
        for status, response in operation["responses"].items():
            content = response.get("content", {})
            for media_type, answer in content.items():
                if status >= "400" and "example" not in answer:
                    codes_of_status.setdefault(status, []).extend(f"`{code}`" for code in answer["examples"])
                    continue
                yield from self._answer(status, media_type, answer)
            if not content:
                yield f"Answer: {status}, without a body."
        if codes_of_status:
            rows = [(status, ", ".join(dict.fromkeys(codes))) for status, codes in codes_of_status.items()]
            yield markdown.table(("status", "errors"), rows)

    def _answer(self, status: str, media_type: str, answer: Document) -> Iterator[str]:
        schema = answer.get("schema")
        kind = f", {self._type(schema)}" if schema else ""
        yield f"Answer: {status}, `{media_type}`{kind}."
        if "example" in answer:
            yield markdown.json_block(answer["example"])
        elif examples := answer.get("examples"):
            values = {name: self._resolve(example)["value"] for name, example in examples.items()}
            if all(isinstance(value, str) for value in values.values()):
                yield from _streamed(values, "line" if "ndjson" in media_type else "event")
            else:
                yield from map(markdown.json_block, values.values())

    def _fields(self, schema: Document) -> str:
        """The table of an object's fields; empty for a schema that is no object or has none."""
        required = schema.get("required", ())
        rows = [
            (f"`{name}`", self._type(field), _default(field, name in required), field.get("description", ""))
            for name, field in schema.get("properties", {}).items()
        ]
        return markdown.table(("field", "type", "default", "meaning"), rows) if rows else ""

    def _type(self, schema: Document) -> str:
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            self._linked.setdefault(name)
            return f"[{name}](#{name.lower()})"
        if "const" in schema:
            return markdown.code(schema["const"])
        if "enum" in schema:
            return ", ".join(markdown.code(value) for value in schema["enum"])
        for key in ("anyOf", "oneOf", "allOf"):
            if key in schema:
                return " or ".join(dict.fromkeys(self._type(part) for part in schema[key]))
        if schema.get("format") == "binary":
            return "bytes"
        match schema.get("type"):
            case "array":
                return f"list of {self._type(schema['items'])}" if "items" in schema else "list"
            case "object":
                values = schema.get("additionalProperties")
                return f"object of {self._type(values)}" if isinstance(values, dict) and values else "object"
            case None:
                return "any"
            case kind:
                return f"{kind}{_range(schema)}"

    def _resolve(self, value: Document) -> Document:
        found: Any = value
        while "$ref" in found:
            path = found["$ref"].split("/")[1:]
            found = self._document
            for name in path:
                found = found[name]
        resolved: Document = found
        return resolved


def _streamed(values: Mapping[str, str], part: str) -> Iterator[str]:
    """Name → text of each part of a stream, those that come together in one block. `part`: what a part is called."""
    apart = {"error": f"If it fails, the last {part} is:", "heartbeat": "During a silence:"}
    together = [value.rstrip() for name, value in values.items() if name not in apart]
    yield markdown.block("text", "\n\n".join(together))
    for name, sentence in apart.items():
        if name in values:
            yield sentence
            yield markdown.block("text", values[name])


def _anchor(method: str, path: str) -> str:
    """The anchor that MkDocs makes of the heading of a route."""
    kept = "".join(sign for sign in f"{method} {path}".lower() if sign.isalnum() or sign in " _-")
    return "-".join(kept.split())


def _first_sentence(operation: Document) -> str:
    paragraph = " ".join(operation.get("description", "").split("\n\n")[0].split())
    return re.split(r"(?<=\.) ", paragraph)[0]


def _default(field: Document, is_required: bool) -> str:
    if is_required:
        return "required"
    return markdown.code(field["default"]) if "default" in field else ""


def _range(schema: Document) -> str:
    """The range of a number or of a text's length, with a comma before it; empty if there is none."""
    signs = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"))
    limits = [f"{sign} {schema[key]:,.15g}" for key, sign in signs if key in schema]
    if "maxLength" in schema:
        limits.append(f"{schema.get('minLength', 0):,} to {schema['maxLength']:,} characters")
    elif "minLength" in schema:
        limits.append(f"≥ {schema['minLength']:,} characters")
    return "".join(f", {limit}" for limit in limits)


def example(schema: Document) -> dict[str, Any]:
    """An example of a body: the first example of each field that has one."""
    fields: Iterable[tuple[str, Document]] = schema.get("properties", {}).items()
    return {name: field["examples"][0] for name, field in fields if field.get("examples")}
