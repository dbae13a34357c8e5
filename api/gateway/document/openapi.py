"""The OpenAPI document, from the routes, the schemas of requests and responses, and the error catalogue."""

from __future__ import annotations

import http
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from api.gateway.document.error_groups import errors_of
from api.gateway.document.json_schemas import TEMPLATE, request_schemas, response_schemas
from api.gateway.http.url_table import Route, RouteDoc
from api.openai.errors.base import ApiError
from api.openai.schemas.response_bodies.base import ErrorAnswer
from api.openai.validation.json_shape import MAX_CONTAINERS, MAX_DEPTH, MAX_ELEMENTS, MAX_KEYS

Json = dict[str, Any]
ABOUT = f"""The OpenAI API as implemented by this platform.

A request body is one JSON object in UTF-8 with unique keys, at most {MAX_DEPTH} levels of nesting and at
most {MAX_CONTAINERS:,} objects and arrays, {MAX_KEYS:,} keys and {MAX_ELEMENTS:,} elements. Integers have no
decimal point, and null stands for a parameter's default. Rules that the schemas can't express, such as
mutually exclusive parameters, are reported with status 400 and a message.

The error catalogue, docs/errors.md, lists every error response. Response schemas are open, because remote
engines may add fields."""


# Slashes in a model's name are not escaped.
PATH_PARAMETERS: Mapping[str, Mapping[str, Any]] = {
    "model": {"type": "string", "minLength": 1},
    "id": {"type": "string", "minLength": 1, "pattern": "^[^/]+$"},
    "checkpoint": {"type": "string", "minLength": 1, "pattern": "^[^/]+$"},
}


# Groups of operations in the API reference, by the first part of their path.
TAGS: Mapping[str, str] = {
    "chat": "Chat",
    "completions": "Completions",
    "responses": "Responses",
    "streams": "Resumable streams",
    "embeddings": "Embeddings",
    "models": "Models",
    "files": "Files",
    "fine_tuning": "Fine-tuning",
    "tokenize": "Tokens",
    "detokenize": "Tokens",
    "health": "Service",
    "openapi.json": "Service",
}


def openapi_document(routes: Iterable[Route]) -> Json:
    """Return the document for these routes."""
    routes = tuple(routes)
    paths: Json = {}
    for route in routes:
        paths.setdefault(route.path_template, {})[route.method.lower()] = _operation(route)
    responses = _share_responses(paths)
    return {
        "openapi": "3.1.0",
        "info": {"title": "CY-LLM", "version": "1", "description": ABOUT},
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in dict.fromkeys(TAGS.values())],
        "paths": paths,
        "components": {
            "schemas": _schemas(routes),
            "responses": responses,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route) -> Json:
    operation: Json = {
        "operationId": _operation_id(route),
        "tags": [_tag(route)],
        "summary": route.doc.summary,
        "security": [{"bearer": []}] if route.scopes else [],
        "parameters": list(_parameters(route)),
        "responses": _responses(route),
    }
    if route.scopes:
        operation["description"] = (
            "Required scope: " + " or ".join(f"`{scope}`" for scope in route.scopes) + "."
        )
    if route.schema is not None:
        media_type = "multipart/form-data" if route.is_form else "application/json"
        content = {media_type: {"schema": _reference(route.schema)}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _reference(model: type[BaseModel]) -> Json:
    return {"$ref": TEMPLATE.format(model=model.__name__)}


def _tag(route: Route) -> str:
    first_part = route.path_template.removeprefix("/v1").split("/")[1]
    return TAGS.get(first_part, "Service")


def _operation_id(route: Route) -> str:
    parts = route.path_template.replace("{", "").replace("}", "").replace(".", "/").split("/")
    return "_".join([route.method.lower(), *(part for part in parts if part)])


def _parameters(route: Route) -> Iterable[Json]:
    for name in _path_parameters(route):
        yield {"name": name, "in": "path", "required": True, "schema": dict(PATH_PARAMETERS[name])}
    for name, schema in (route.query or {}).items():
        style = {"style": "deepObject", "explode": True} if "object" in schema.get("type", ()) else {}
        yield {"name": name, "in": "query", "required": False, **style, "schema": dict(schema)}


def _path_parameters(route: Route) -> list[str]:
    return [part.partition("}")[0] for part in route.path_template.split("{")[1:]]


# Responses


def _responses(route: Route) -> Json:
    by_status: dict[int, list[type[ApiError]]] = {}
    for error in sorted(errors_of(route), key=lambda error: error.code):
        by_status.setdefault(error.status, []).append(error)
    responses = {str(status): _error(status, errors) for status, errors in sorted(by_status.items())}
    if route.doc.not_ready is not None:
        content = responses["503"]["content"]["application/json"]
        content["schema"] = {"anyOf": [_reference(route.doc.not_ready), content["schema"]]}
    return {"200": _success(route.doc), **responses}


def _success(doc: RouteDoc) -> Json:
    content: Json = {}
    if doc.is_download:
        content["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
    elif doc.body is not None:
        content["application/json"] = {"schema": _reference(doc.body)}
    elif doc.event is None:
        content["application/json"] = {"schema": {"type": "object"}}
    if doc.event is not None:
        name = doc.event.__name__
        description = f"Server-sent events; the data of each is one {name}. " + _ENDINGS.get(name, _DONE)
        content["text/event-stream"] = {
            "schema": {"type": "string", "description": description},
            "x-event-data": _reference(doc.event),
        }
    return {"description": "Success.", "headers": {"X-Request-ID": _REQUEST_ID}, "content": content}


# The end of a stream, by the schema of its events.
_DONE = "The last event is `[DONE]`. If the response fails, the event before it is an ErrorAnswer."
_ENDINGS: Mapping[str, str] = {
    "ResponseEvent": "The last event is `response.completed`, `response.incomplete` or `response.failed`, or "
    "`error` if the response object is not available; there is no `[DONE]`.",
    "StreamData": "The `id` of an event is its number. The stream ends like that of the original request.",
}


def _share_responses(paths: Json) -> Json:
    """Replace the error responses of the operations by references, and return each once by name."""
    responses: dict[str, Json] = {}
    for operation in (operation for methods in paths.values() for operation in methods.values()):
        for status, response in operation["responses"].items():
            if status == "200":
                continue
            equal_names = [name for name, other in responses.items() if other == response]
            count = sum(name.startswith(f"Error{status}") for name in responses)
            name = equal_names[0] if equal_names else f"Error{status}" + (f"_{count + 1}" if count else "")
            responses[name] = response
            operation["responses"][status] = {"$ref": f"#/components/responses/{name}"}
    return dict(sorted(responses.items()))


_REQUEST_ID: Mapping[str, Any] = {
    "description": "The client's id of the request if it sent a valid one, otherwise the gateway's.",
    "schema": {"type": "string"},
}
_PHRASES = {499: "Client Closed Request"}
_RETRY = ("Retry-After", "Seconds to wait before the next attempt.")
_HEADERS: Mapping[int, tuple[str, str]] = {
    401: ("WWW-Authenticate", "The authentication scheme."),
    405: ("Allow", "The allowed methods."),
    429: _RETRY,
    503: _RETRY,
}


def _error(status: int, errors: Sequence[type[ApiError]]) -> Json:
    fixes = "\n".join(f"* `{error.code}`: {error.fix}" for error in errors)
    codes = [error.code for error in errors]
    types = sorted({error_type for error in errors for error_type in error.error_types()})
    detail = {"properties": {"code": {"enum": codes}, "type": {"enum": types}}}
    schema = {"allOf": [_reference(ErrorAnswer), {"properties": {"error": detail}}]}
    headers: Json = {"X-Request-ID": _REQUEST_ID}
    if status in _HEADERS:
        name, meaning = _HEADERS[status]
        headers[name] = {"description": meaning, "schema": {"type": "string"}}
    phrase = _PHRASES.get(status) or http.HTTPStatus(status).phrase
    return {
        "description": f"{phrase}.\n\n{fixes}",
        "headers": headers,
        "content": {"application/json": {"schema": schema}},
    }


# Schemas


def _schemas(routes: Sequence[Route]) -> Json:
    requests = request_schemas({route.schema for route in routes if route.schema is not None})
    bodies = {
        model
        for route in routes
        for model in (route.doc.body, route.doc.event, route.doc.not_ready)
        if model is not None
    }
    responses = response_schemas({*bodies, ErrorAnswer})
    if ambiguous := requests.keys() & responses.keys():
        raise ValueError(f"request and response schemas share names: {sorted(ambiguous)}")
    return dict(sorted({**requests, **responses}.items()))
