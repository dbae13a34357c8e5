"""Rules for responses that hold for any request."""

from __future__ import annotations

import json
import re
from typing import Any

from api.openai.errors.base import printable
from api.openai.errors.catalogue import CATALOGUE
from tests.fuzzing.values import INJECTED
from tests.fuzzing.wire import Raw

SLOW_S = 30.0
_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
_HEADERS = frozenset(
    {
        *("accept", "accept-encoding"),
        *("allow", "cache-control", "connection", "content-length", "content-type", "date", "retry-after"),
        *(
            "transfer-encoding",
            "www-authenticate",
            "x-accel-buffering",
            "x-content-type-options",
            "x-cyllm-no-effect",
            "x-request-id",
        ),
    }
)
_JSON = "application/json"
_EVENTS = "text/event-stream; charset=utf-8"
_LAST_EVENTS = ("response.completed", "response.incomplete")
_TYPES: dict[int, set[str | None]] = {200: {_JSON, _EVENTS}, 204: {None}}
# Required parameters, and those that token counts refer to.
_ALWAYS_ALLOWED = ("model", "messages", "prompt", "input", "tokens", "max_tokens", "max_completion_tokens")


def faults(answer: Raw, tree: Any) -> list[str]:
    """Return the violations by a response. ``tree`` is the body of the request, if it was JSON."""
    problems = _head_faults(answer)
    if answer.took_s > SLOW_S:
        problems.append(f"it took {answer.took_s:.1f} s")
    if answer.status == 204:
        return problems if answer.header("allow") else [*problems, "no allow header"]
    if answer.status == 200:
        return problems + _success_faults(answer)
    try:
        error = json.loads(answer.body)["error"]
    except (ValueError, KeyError, TypeError):
        return [*problems, f"status {answer.status} without an error: {answer.body[:200]!r}"]
    return problems + _error_faults(answer, error, tree)


def _head_faults(answer: Raw) -> list[str]:
    problems = []
    if unknown := {name for name, _ in answer.headers} - _HEADERS:
        problems.append(f"unknown headers {unknown}")
    if any(not value.isprintable() or INJECTED in value for _, value in answer.headers):
        problems.append("a header contains text of the client")
    if not _ID.fullmatch(answer.header("x-request-id") or ""):
        problems.append("no request id")
    if answer.header("x-content-type-options") != "nosniff":
        problems.append("no nosniff header")
    if answer.header("content-type") not in _TYPES.get(answer.status, {_JSON}):
        problems.append(f"content type {answer.header('content-type')}")
    return problems


def _success_faults(answer: Raw) -> list[str]:
    if answer.header("content-type") == _JSON:
        return [] if isinstance(json.loads(answer.body), dict) else ["no object"]
    lines = [line for line in answer.body.split(b"\n") if line.startswith(b"data: ")]
    events = [json.loads(line[6:]) for line in lines if line != b"data: [DONE]"]
    wrong = [event["error"] for event in events if "error" in event]
    if any(error.get("code") not in CATALOGUE or CATALOGUE[error["code"]].status >= 500 for error in wrong):
        return [f"an error in the stream: {wrong}"]
    if events and events[-1].get("type") in _LAST_EVENTS:
        return []
    return [] if lines and lines[-1] == b"data: [DONE]" else [f"a stream that ends in {lines[-1:]}"]


def _error_faults(answer: Raw, error: Any, tree: Any) -> list[str]:
    if not isinstance(error, dict) or set(error) != {"message", "type", "param", "code"}:
        return [f"no error of the format: {error!r}"]
    spec = CATALOGUE.get(error["code"])
    if spec is None:
        return [f"code {error['code']!r} is not in the catalogue"]
    problems = []
    if answer.status != spec.status or error["type"] not in spec.error_types():
        problems.append(f"{spec.code} with status {answer.status} and type {error['type']}")
    if answer.status >= 500:
        problems.append(f"status {answer.status}: {error['message']}")
    if not error["message"].isprintable() or len(error["message"]) > 1000:
        problems.append(f"message {error['message'][:300]!r}")
    if b"<" in answer.body or not answer.body.isascii():
        problems.append("markup or characters beyond ASCII in an error")
    if not _names_a_part_of(error["param"], tree):
        problems.append(f"param {error['param']!r} is not of the request")
    return problems


def _names_a_part_of(param: str | None, tree: Any) -> bool:
    if param is None or not isinstance(tree, dict):
        return param is None or isinstance(param, str)
    return param.startswith((*_ALWAYS_ALLOWED, *(printable(key) for key in tree)))
