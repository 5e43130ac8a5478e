"""Make api.md of the API's OpenAPI document; `generate.py` writes it."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

Json = Mapping[str, Any]

HEAD = """# REST API

Below `/dataharbour` in Airflow's API server. To try it out: `/dataharbour/docs` and
`/dataharbour/redoc`, behind the same sign-in. `python docs/reference/generate.py` makes this
page of the code.

- **Who calls.** `Authorization: Bearer TOKEN`, with a token from `POST /auth/token`, or
  Airflow's login cookie. `livez`, `readyz` and `health` need nobody, `sign-in` takes its own
  ticket. A thing that the caller may not see answers as one that is not there (404).
- **Rights** are Airflow's, on the DAG of the job or run: its auth manager is asked for what
  Airflow asks for at its own address for the same, by method and part of the DAG (a
  `DagAccessEntity`; `DAG` is the DAG itself). Each address below names them. What one may not
  see is 404, any other right that lacks is 403 (`forbidden`). Of the roles of the embedded
  platform a viewer has every `GET`, a user the others too, and op `PUT configuration`; whatever
  changes a run of `spark_job`, the DAG of one-off runs, takes op as well.
- **Lists** are `{"items": [...], "next": null}`. `next` goes into `cursor` for the page that
  follows; `limit` is the most items of a page. Short ones come whole, without either: attempts,
  repairs, artifacts, clusters.
- **Starting twice.** A POST that starts a run takes an `Idempotency-Key`. The same key with the
  same request answers the same run (200, `Idempotency-Replayed: true`); with another request it
  is refused (422). Without a key the server chooses one, and answers it.
- **Changing what one has read.** `If-Match` with an ETag refuses (412) what has changed since.
  The ETag of an answer that starts a run serves for that, too; while the run is QUEUED, `GET`
  tells why it waits as well, and has another one.
  `If-None-Match` of `GET runs/{run_id}` answers 304 where nothing has; that of
  `PUT jobs/{name}` may only be `*`: create, never change.
- **Streams.** With `Accept: text/event-stream` logs and events come as server-sent events, as
  they happen. `Last-Event-ID` goes on after the event with that id. A stream ends after two
  minutes, or after its event `end`; a client connects again where it was, as an `EventSource`
  does by itself, and gets 204 once it has everything. While there is nothing to tell, a comment
  comes every 15 s.
- **Waiting.** `GET runs/{run_id}?wait=30s` answers when the run has ended. Who waits, or reads a
  stream, holds no thread of the server; of one user `max_streams_per_user` (100) may do so at
  once in each worker of the API server, and the next is answered 429.
- **Times** are UTC. **A body** may have 256 KiB.
"""

BESIDE = """For browsers, and not in the OpenAPI document (`docs` and `redoc` have their files below
`/docs-assets`; Spark's pages ask for the right `GET TASK_LOGS`, as artifacts do):
"""


def api() -> str:
    """The page."""
    from dataharbour.api.answers import COMMON, meaning, public_problems
    from dataharbour.api.app import create_app
    from dataharbour.api.problems import status_of_kind

    app = create_app(SimpleNamespace(access=None))
    document = app.openapi()
    lines = [HEAD, "## Addresses", "", "| call | does |", "|---|---|"]
    for path, method, operation in _operations(document):
        anchor = _anchor(f"{method} {path}")
        lines.append(f"| [`{method} {path}`](#{anchor}) | {_cell(_summary(operation))} |")
    lines += ["", *BESIDE.splitlines(), "", "| call | does |", "|---|---|"]
    lines += [f"| `{address}` | {_cell(does)} |" for address, does in _beside(app, document)]
    lines += [
        "", "## Failures", "",
        "A failure is `application/problem+json` (RFC 9457) with `title`, `status`, `code`,",
        "`detail`, `remedy` and `errors`, one entry per field. Programs decide by `code`. 429 and",
        "503 name `Retry-After`.",
        "", "| code | status | means |", "|---|---|---|",
    ]  # fmt: skip
    for kind in public_problems():
        lines.append(f"| `{kind.code}` | {status_of_kind(kind)} | {_cell(meaning(kind))} |")
    everywhere = ", ".join(f"`{kind.code}`" for kind in COMMON)
    lines += ["", f"Any address that needs a user may answer {everywhere}."]
    for path, method, operation in _operations(document):
        lines += ["", f"## {method} {path}", "", *_operation(operation)]
    lines += ["", "## Shapes"]
    for name, schema in sorted(document["components"]["schemas"].items()):
        if name not in {"HTTPValidationError", "ValidationError"}:
            lines += ["", f"### {name}", "", *_shape(schema)]
    return "\n".join(lines) + "\n"


def _operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def _beside(app: FastAPI, document: Json) -> Iterator[tuple[str, str]]:
    """The addresses that OpenAPI leaves out, and what they are for."""
    for route in app.routes:
        if isinstance(route, APIRoute) and route.path not in document["paths"]:
            path = route.path.replace(":path}", "}")
            does = inspect.getdoc(route.endpoint) or ""
            yield f"{' '.join(sorted(route.methods))} {path}", does.split("\n", 1)[0]


def _operation(operation: Json) -> Iterator[str]:
    yield operation.get("description") or operation["summary"]
    if "x-rights" in operation:
        yield from ("", f"Rights: {', '.join(f'`{right}`' for right in operation['x-rights'])}.")
    parameters = operation.get("parameters", [])
    if parameters:
        yield from ("", "| parameter | in | values | default | meaning |", "|---|---|---|---|---|")
    for each in parameters:
        schema = each["schema"]
        default = "required" if each.get("required") else _default(schema)
        told = _cell(each["description"]) if "description" in each else _told(schema)
        yield f"| `{each['name']}` | {each['in']} | {_values(schema)} | {default} | {told} |"
    body = operation.get("requestBody")
    if body:
        kinds = ", ".join(f"`{kind}`" for kind in body["content"])
        shape = _values(next(iter(body["content"].values()))["schema"])
        needed = "" if body.get("required") else " May be left out."
        yield from ("", f"Body ({kinds}): {shape}. {body.get('description', '')}{needed}".rstrip())
    yield from ("", "| answer | body | headers | when |", "|---|---|---|---|")
    for status, answer in sorted(operation["responses"].items()):
        if status == "default" or (status == "422" and "x-codes" not in answer):
            continue  # told once for all, above
        content = answer.get("content", {})
        shapes = " or ".join(
            _values(kind["schema"]) if name.endswith("json") else f"`{name}`"
            for name, kind in content.items()
            if kind.get("schema")
        )
        headers = ", ".join(f"`{name}`" for name in answer.get("headers", {}))
        codes = ", ".join(f"`{code}`" for code in answer.get("x-codes", ()))
        yield f"| {status} | {shapes} | {headers} | {codes or _cell(answer['description'])} |"


def _shape(schema: Json) -> Iterator[str]:
    yield schema.get("description", "")
    if "enum" in schema:
        yield from ("", "One of " + ", ".join(f"`{value}`" for value in schema["enum"]) + ".")
    fields = schema.get("properties", {})
    if fields:
        yield from ("", "| field | values | default | meaning |", "|---|---|---|---|")
    required = set(schema.get("required", ()))
    for name, field in fields.items():
        default = "" if name in required else _default(field)
        told = _told(field)
        yield f"| `{name}` | {_values(field)} | {default} | {told} |"


def _told(schema: Json) -> str:
    """What is said of a value; of one that may be null, what is said of the other kind."""
    parts = (schema, *schema.get("anyOf", ()))
    return _cell(next((part["description"] for part in parts if "description" in part), ""))


def _values(schema: Json) -> str:
    """What a schema allows, in few words."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_values(each) for each in schema["anyOf"])
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        most = f", at most {schema['maxItems']}" if "maxItems" in schema else ""
        return f"list of {_values(schema.get('items', {}))}{most}"
    return _cell(schema.get("type", "any value") + _limits(schema))


def _limits(schema: Json) -> str:
    words = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "minLength": "length at least",
        "maxLength": "length at most",
        "maxProperties": "at most so many:",
        "format": "of the form",
        "pattern": "like",
    }
    told = [f"{word} `{schema[name]}`" for name, word in words.items() if name in schema]
    return f", {', '.join(told)}" if told else ""


def _default(schema: Json) -> str:
    return f"`{json.dumps(schema['default'])}`" if "default" in schema else ""


def _summary(operation: Json) -> str:
    text: str = operation.get("description") or operation["summary"]
    return text.split("\n", 1)[0]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _anchor(heading: str) -> str:
    """How GitHub names a heading."""
    kept = (c for c in heading.lower() if c.isalnum() or c in " -_")
    return "".join(kept).replace(" ", "-")
