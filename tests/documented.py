"""Holds real answers against the OpenAPI document."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import jsonschema

from api.gateway.document.openapi import openapi_document
from api.gateway.urls import URLS

DOCUMENT: dict[str, Any] = json.loads(json.dumps(openapi_document(URLS.routes)))


@cache
def _validator(pointer: str) -> jsonschema.Draft202012Validator:
    """A validator of the schema at a place in the document, whose references lead into the whole."""
    return jsonschema.Draft202012Validator({"$ref": f"#{pointer}", **DOCUMENT})


def _pointer(*steps: str) -> str:
    escaped = (step.replace("~", "~0").replace("/", "~1") for step in steps)
    return "".join("/" + step.replace("{", "%7B").replace("}", "%7D") for step in escaped)


def request_is_wrong(path: str, body: Mapping[str, Any]) -> bool:
    """Whether the body of a POST is wrong by the document."""
    at = _pointer("paths", path, "post", "requestBody", "content", "application/json", "schema")
    return not _validator(at).is_valid(body)


def answer_faults(
    method: str, endpoint: str, status: int, headers: Mapping[str, str], body: bytes
) -> list[str]:
    """What is wrong with an answer by the document; of a stream each event is looked at."""
    said = DOCUMENT["paths"][endpoint][method.lower()]["responses"].get(str(status))
    if said is None:
        return [f"status {status} is not in the document"]
    place: tuple[str, ...] = ("paths", endpoint, method.lower(), "responses", str(status))
    if "$ref" in said:
        place = ("components", "responses", said["$ref"].rpartition("/")[2])
        said = DOCUMENT["components"]["responses"][place[-1]]
    media_type = headers["content-type"].partition(";")[0]
    if media_type not in said["content"]:
        return [f"{media_type} is not in the document"]
    faults = [name for name in said["headers"] if name.lower() not in headers]
    at = (*place, "content", media_type)
    if media_type == "text/event-stream":
        events = [_data(line) for line in body.decode().splitlines() if line.startswith("data: {")]
        found = [fault for event in events for fault in _faults(event, *at, "x-event-data")]
        return faults + found + ([] if events else ["no event"])
    return faults + _faults(json.loads(body), *at, "schema")


def _data(line: str) -> Any:
    return json.loads(line.removeprefix("data: "))


def _faults(document: Any, *at: str) -> list[str]:
    return [fault.message for fault in _validator(_pointer(*at)).iter_errors(document)]
