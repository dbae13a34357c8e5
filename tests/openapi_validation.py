"""Checks responses against the OpenAPI document."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import jsonschema

from api.gateway.document.openapi import openapi_document
from api.gateway.urls.table import URLS

DOCUMENT: dict[str, Any] = json.loads(json.dumps(openapi_document(URLS.routes)))


@cache
def _validator(pointer: str) -> jsonschema.Draft202012Validator:
    """Return a validator of the schema at a JSON pointer of the document."""
    return jsonschema.Draft202012Validator({"$ref": f"#{pointer}", **DOCUMENT})


def _pointer(*steps: str) -> str:
    segments = (step.replace("~", "~0").replace("/", "~1") for step in steps)
    return "".join("/" + step.replace("{", "%7B").replace("}", "%7D") for step in segments)


def request_is_wrong(path: str, body: Mapping[str, Any]) -> bool:
    """Return whether the body of a POST violates the document."""
    pointer = _pointer("paths", path, "post", "requestBody", "content", "application/json", "schema")
    return not _validator(pointer).is_valid(body)


def answer_faults(
    method: str, endpoint: str, status: int, headers: Mapping[str, str], body: bytes
) -> list[str]:
    """Return the violations of the document by a response, or by each event of a stream."""
    response = DOCUMENT["paths"][endpoint][method.lower()]["responses"].get(str(status))
    if response is None:
        return [f"status {status} is not in the document"]
    path: tuple[str, ...] = ("paths", endpoint, method.lower(), "responses", str(status))
    if "$ref" in response:
        path = ("components", "responses", response["$ref"].rpartition("/")[2])
        response = DOCUMENT["components"]["responses"][path[-1]]
    media_type = headers["content-type"].partition(";")[0]
    if media_type not in response["content"]:
        return [f"{media_type} is not in the document"]
    faults = [name for name in response["headers"] if name.lower() not in headers]
    media_path = (*path, "content", media_type)
    if media_type == "application/octet-stream":
        return faults
    if media_type == "text/event-stream":
        events = [_data(line) for line in body.decode().splitlines() if line.startswith("data: {")]
        faults += [fault for event in events for fault in _faults(event, *media_path, "x-event-data")]
        return faults + ([] if events else ["no event"])
    return faults + _faults(json.loads(body), *media_path, "schema")


def document_faults(method: str, path: str, status: int, body: bytes) -> list[str]:
    """Return the violations of the document by a JSON response to a request for a path."""
    resource = URLS.resolve(path)
    if resource is None:
        return [f"{method} {path} is not in the document"]
    steps = ("paths", resource.path_template, method.lower(), "responses", str(status))
    return _faults(json.loads(body), *steps, "content", "application/json", "schema")


def _data(line: str) -> Any:
    return json.loads(line.removeprefix("data: "))


def _faults(document: Any, *path: str) -> list[str]:
    return [fault.message for fault in _validator(_pointer(*path)).iter_errors(document)]
