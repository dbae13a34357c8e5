"""The OpenAPI document: the table of routes, the schemas of both directions, and the catalogue of errors."""

from __future__ import annotations

import http
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from api.gateway.document.operations import BODY, HTTP, KEY, OPERATIONS, PARAMETERS, Description
from api.gateway.http.url_table import Route
from api.openai.errors.catalogue import CATALOGUE
from api.openai.schemas.answers import ErrorAnswer
from api.openai.validation.json_body import MAX_CONTAINERS, MAX_DEPTH
from api.openai.validation.json_schemas import TEMPLATE, answer_schemas, request_schemas

Json = dict[str, Any]
ABOUT = f"""OpenAI's API as this platform serves it.

Bodies are one JSON object in UTF-8, nested {MAX_DEPTH} levels at most, with at most {MAX_CONTAINERS:,}
objects and arrays, every key once; integers have no decimal point. A null stands for the default of a
parameter that exists. What the schemas can't say, such as which parameters exclude each other, is refused
with status 400 and a message that says it.

Every answer that is no success is an entry of the error catalogue, docs/errors.md. Schemas of answers are
open: remote engines may add fields."""


def openapi_document(routes: Iterable[Route]) -> Json:
    """The document for these routes. Raises ValueError for one that ``operations`` doesn't describe."""
    routes = tuple(routes)
    paths: Json = {}
    for route in routes:
        paths.setdefault(route.endpoint, {})[route.method.lower()] = _operation(route, _described(route))
    shared = _share_responses(paths)
    return {
        "openapi": "3.1.0",
        "info": {"title": "CY-LLM", "version": "1", "description": ABOUT},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": _schemas(routes),
            "responses": shared,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def operation_codes(route: Route, operation: Description) -> frozenset[str]:
    """The codes of all errors in which a route may end."""
    codes = HTTP | operation.errors
    if route.scopes:
        codes |= KEY
    if "{" in route.endpoint:
        codes |= {"unknown_url"}  # for a value that is empty or holds a slash
    if route.schema is not None or route.query is not None:
        codes |= BODY
    return codes


def _described(route: Route) -> Description:
    found = OPERATIONS.get((route.method, route.endpoint))
    if found is None:
        raise ValueError(
            f"api/gateway/document/operations.py does not describe {route.method} {route.endpoint}"
        )
    return found


def _operation(route: Route, operation: Description) -> Json:
    written: Json = {
        "operationId": _operation_id(route),
        "summary": operation.summary,
        "security": [{"bearer": []}] if route.scopes else [],
        "parameters": list(_parameters(route)),
        "responses": _responses(route, operation),
    }
    if route.scopes:
        written["description"] = (
            "Scope of the key: " + " or ".join(f"`{scope}`" for scope in route.scopes) + "."
        )
    if route.schema is not None:
        schema = {"$ref": TEMPLATE.format(model=route.schema.__name__)}
        written["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return written


def _operation_id(route: Route) -> str:
    words = route.endpoint.replace("{", "").replace("}", "").replace(".", "/").split("/")
    return "_".join([route.method.lower(), *(word for word in words if word)])


def _parameters(route: Route) -> Iterable[Json]:
    for name in _path_parameters(route):
        yield {"name": name, "in": "path", "required": True, "schema": dict(PARAMETERS[name])}
    for name in route.query or ():
        yield {"name": name, "in": "query", "required": False, "schema": dict(PARAMETERS[name])}


def _path_parameters(route: Route) -> list[str]:
    return [part.partition("}")[0] for part in route.endpoint.split("{")[1:]]


# Answers


def _responses(route: Route, operation: Description) -> Json:
    by_status: dict[int, list[str]] = {}
    for code in sorted(operation_codes(route, operation)):
        by_status.setdefault(CATALOGUE[code].status, []).append(code)
    errors = {str(status): _error(status, codes) for status, codes in sorted(by_status.items())}
    if operation.not_ready is not None:
        schema = errors["503"]["content"]["application/json"]["schema"]
        errors["503"]["content"]["application/json"]["schema"] = {
            "anyOf": [{"$ref": TEMPLATE.format(model=operation.not_ready.__name__)}, schema]
        }
    return {"200": _success(operation), **errors}


def _success(operation: Description) -> Json:
    content: Json = {}
    if operation.answer is not None:
        reference = {"$ref": TEMPLATE.format(model=operation.answer.__name__)}
        content["application/json"] = {"schema": reference}
    elif operation.event is None:
        content["application/json"] = {"schema": {"type": "object"}}
    if operation.event is not None:
        name = operation.event.__name__
        content["text/event-stream"] = {
            "schema": {
                "type": "string",
                "description": f"Server-sent events with the data of one {name} each. "
                + _ENDINGS.get(name, _DONE),
            },
            "x-event-data": {"$ref": TEMPLATE.format(model=name)},
        }
    return {"description": "Success.", "headers": {"X-Request-ID": _REQUEST_ID}, "content": content}


# How a stream ends, by the data of its events; chunks end in the first way.
_DONE = (
    "The last is `[DONE]`. A stream that breaks off has an ErrorAnswer as the data of the last event "
    "before that."
)
_ENDINGS: Mapping[str, str] = {
    "ResponseEvent": "The last is `response.completed`, `response.incomplete` or `response.failed`, or an "
    "`error` where the response itself can't be told; there is no `[DONE]`.",
    "StreamData": "They end as those of the request that made the stream do, and have numbers as their `id`.",
}


def _share_responses(paths: Json) -> Json:
    """Take the errors out of the operations, each once, and leave references there."""
    named: dict[str, Json] = {}
    for operation in (operation for methods in paths.values() for operation in methods.values()):
        for status, response in operation["responses"].items():
            if status == "200":
                continue
            alike = [name for name, other in named.items() if other == response]
            count = sum(name.startswith(f"Error{status}") for name in named)
            name = alike[0] if alike else f"Error{status}" + ("" if count == 0 else f"_{count + 1}")
            named[name] = response
            operation["responses"][status] = {"$ref": f"#/components/responses/{name}"}
    return dict(sorted(named.items()))


_REQUEST_ID: Mapping[str, Any] = {
    "description": "The id of this request in logs and records, or the one that the client sent.",
    "schema": {"type": "string"},
}
_PHRASES = {499: "Client Closed Request"}
_RETRY = ("Retry-After", "Seconds after which to try again.")
_HEADERS: Mapping[int, tuple[str, str]] = {
    401: ("WWW-Authenticate", "The scheme of keys."),
    405: ("Allow", "The methods that there are."),
    429: _RETRY,
    503: _RETRY,
}


def _error(status: int, codes: Sequence[str]) -> Json:
    lines = "\n".join(f"* `{code}`: {CATALOGUE[code].fix}" for code in codes)
    error_type = CATALOGUE[codes[0]].error_type()
    detail = {"properties": {"code": {"enum": list(codes)}, "type": {"const": error_type}}}
    schema = {
        "allOf": [{"$ref": TEMPLATE.format(model=ErrorAnswer.__name__)}, {"properties": {"error": detail}}]
    }
    headers: Json = {"X-Request-ID": _REQUEST_ID}
    if status in _HEADERS:
        name, meaning = _HEADERS[status]
        headers[name] = {"description": meaning, "schema": {"type": "string"}}
    phrase = _PHRASES.get(status) or http.HTTPStatus(status).phrase
    return {
        "description": f"{phrase}.\n\n{lines}",
        "headers": headers,
        "content": {"application/json": {"schema": schema}},
    }


# Schemas


def _schemas(routes: Sequence[Route]) -> Json:
    requests = {route.schema: _described(route) for route in routes if route.schema is not None}
    operations = [_described(route) for route in routes]
    shown = [model for op in operations for model in (op.answer, op.event, op.not_ready) if model is not None]
    taken = request_schemas(requests)
    for model, operation in requests.items():
        taken[model.__name__]["description"] += _refusals(operation.refused)
    given = answer_schemas({*shown, ErrorAnswer})
    if twice := taken.keys() & given.keys():
        raise ValueError(f"schemas of both directions are named {sorted(twice)}")
    return dict(sorted({**taken, **given}.items()))


def _refusals(refused: Mapping[str, str]) -> str:
    if not refused:
        return ""
    return "\n\nKnown, and refused:\n\n" + "\n".join(f"* `{name}`: {why}" for name, why in refused.items())
