"""Strict validation of answers: each against the official SDK's types, Responses also against Open Responses.

Fields that neither declares are refused, apart from the extensions listed here.
"""

from __future__ import annotations

import base64
import enum
import json
import re
from array import array
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, get_args

import openresponses_types as open_responses
from openai.types import Completion, CreateEmbeddingResponse, FileDeleted, FileObject, Model, ModelDeleted
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint
from openai.types.responses import Response, ResponseStreamEvent
from openai.types.responses.compacted_response import CompactedResponse
from openai.types.responses.input_token_count_response import InputTokenCountResponse
from openai.types.responses.response_item import ResponseItem
from openai.types.responses.response_item_list import ResponseItemList
from openai.types.shared import ErrorObject
from pydantic import BaseModel, RootModel, TypeAdapter

from api.gateway.http.azure_paths import resolve_azure_path
from api.gateway.http.url_table import canonical_path

Document = dict[str, Any]
SSE = "text/event-stream"

# Extensions of OpenAI's types, by the name of the SDK's type.
EXTENSIONS = {
    # vLLM's, which clients read
    *("Model.root", "Model.max_model_len", "Model.context_length"),
    *("ChatCompletionMessage.reasoning", "ChatCompletionMessage.reasoning_content"),
    *("ChoiceDelta.reasoning", "ChoiceDelta.reasoning_content"),
    *("Choice.stop_reason", "Choice.token_ids", "CompletionChoice.stop_reason", "CompletionChoice.token_ids"),
    *("CompletionChoice.prompt_token_ids", "CompletionChoice.prompt_logprobs"),
    *("ChatCompletion.prompt_token_ids", "ChatCompletionChunk.prompt_token_ids"),
    "ChatCompletion.prompt_text",
    # required by the Open Responses specification
    *("Response.store", "Response.presence_penalty", "Response.frequency_penalty"),
    # the digest of a file, and the report of a dataset
    *("FileObject.sha256", "FileObject.dataset_report"),
    # in OpenAI's API, but not in the SDK's type
    "ResponseFunctionCallArgumentsDoneEvent.name",
    # our own, under one key
    *("FineTuningJob.cyllm", "FineTuningJobCheckpoint.cyllm"),
    *("ResponseError.param", "ResponseError.type", "Logprob.bytes"),
    *("LogprobTopLogprob.bytes", "ResponseReasoningItem.status"),
}
FIRST_LOGPROB: Mapping[str, Any] = {"token_logprobs": 0.0, "top_logprobs": {}}
# Fields of OpenAI's API that Open Responses 2026-04-24 lacks, by the name of its type.
OPENAI_FIELDS = {
    *("ResponseResource.user", "InputTokensDetails.cache_write_tokens"),
    *("ResponseFunctionCallArgumentsDoneStreamingEvent.name", "FunctionCall.namespace"),
    *("Error1.param", "Error1.type", "ReasoningBody.status", "Item5.status", "Item75.status"),
}


def undeclared_fields(value: object, document: object) -> Iterator[str]:
    """Return each field of the document that its type lacks, as ``Type.field``."""
    if isinstance(value, RootModel):
        yield from undeclared_fields(value.root, document)
    elif isinstance(value, BaseModel) and isinstance(document, dict):
        fields = {field.alias or name: name for name, field in type(value).model_fields.items()}
        for key, inner in document.items():
            if key in fields:
                yield from undeclared_fields(getattr(value, fields[key]), inner)
            else:
                yield f"{type(value).__name__}.{key}"
    elif isinstance(value, list) and isinstance(document, list):
        for item, inner in zip(value, document, strict=True):
            yield from undeclared_fields(item, inner)


def parse(kind: Any, document: Document, extensions: set[str]) -> Any:
    """Return the document as an instance of the type. Raises AssertionError for undeclared fields."""
    value = _adapter(kind).validate_json(_encoded(document), strict=True)
    undeclared_names = set(undeclared_fields(value, document)) - extensions
    assert not undeclared_names, f"undeclared fields: {sorted(undeclared_names)}"
    return value


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _encoded(document: Document) -> bytes:
    # Half of a surrogate pair has no UTF-8 encoding.
    return json.dumps(document, ensure_ascii=False).encode(errors="replace")


def parse_response(document: Document) -> Response:
    """Return a response object as an instance of the SDK's type."""
    parse(open_responses.ResponseResource, _without_schema(document), OPENAI_FIELDS)
    response: Response = parse(Response, document, EXTENSIONS)
    return response


def parse_response_event(document: Document) -> Any:
    """Return an event of a streamed response as an instance of the SDK's type."""
    name = document["type"].replace("reasoning_text", "reasoning")  # Open Responses has the shorter name
    kind = OPEN_EVENTS[name]
    if name == "error":
        # Open Responses nests the error, OpenAI does not.
        details = {name: document[name] for name in ("code", "message", "param")}
        parse(kind, {**_without(document, details), "error": {"type": "error", **details}}, OPENAI_FIELDS)
    else:
        inner = {"response": _without_schema(document["response"])} if "response" in document else {}
        parse(kind, {**document, **inner, "type": name}, OPENAI_FIELDS)
    event = parse(ResponseStreamEvent, document, EXTENSIONS)
    assert event.type == document["type"]
    return event


def _without_schema(response: Document) -> Document:
    """Return the response without the schema of its text, for which Open Responses declares null only."""
    if response["text"]["format"]["type"] != "json_schema":
        return response
    text_format = {**response["text"]["format"], "schema": None}
    return {**response, "text": {**response["text"], "format": text_format}}


def parse_item(document: Document) -> Any:
    """Return an input item as an instance of the SDK's type."""
    return parse(ResponseItem, document, EXTENSIONS)


def _without(document: Document, names: Mapping[str, Any]) -> Document:
    return {name: value for name, value in document.items() if name not in names}


def _event_types() -> Iterator[tuple[str, type[BaseModel]]]:
    for name, kind in vars(open_responses).items():
        if name.endswith("StreamingEvent"):
            annotation = kind.model_fields["type"].annotation
            values = annotation if isinstance(annotation, enum.EnumMeta) else get_args(annotation)
            for value in values:
                yield str(getattr(value, "value", value)), kind


OPEN_EVENTS = dict(_event_types())


def parse_completion(document: Document) -> None:
    """Validate a completion."""
    choices = [_with_first_logprob(choice) for choice in document["choices"]]
    parse(Completion, {**document, "choices": choices}, EXTENSIONS)


def _with_first_logprob(choice: Document) -> Document:
    """Return the choice with a log probability of its first token, of which an echoed prompt has none.

    OpenAI's API has null there, although the SDK's type requires a number.
    """
    logprobs = choice.get("logprobs")
    if not logprobs or logprobs["token_logprobs"][:1] != [None]:
        return choice
    token_logprobs, top_logprobs = ([first, *logprobs[name][1:]] for name, first in FIRST_LOGPROB.items())
    return {
        **choice,
        "logprobs": {**logprobs, "token_logprobs": token_logprobs, "top_logprobs": top_logprobs},
    }


def _parse_embeddings(document: Document) -> None:
    data = [{**item, "embedding": _vector(item["embedding"])} for item in document["data"]]
    parse(CreateEmbeddingResponse, {**document, "data": data}, EXTENSIONS)


def _vector(embedding: Any) -> Any:
    """Return the numbers of an embedding, which the SDK itself decodes from base64."""
    if not isinstance(embedding, str):
        return embedding
    return array("f", base64.b64decode(embedding, validate=True)).tolist()


def _parse_chunk(document: Document) -> None:
    if document["object"] == "chat.completion.chunk":
        parse(ChatCompletionChunk, document, EXTENSIONS)
        return
    # The SDK has one type for completions and their events, in which the reason is null until the end.
    choices = [
        {**choice, "finish_reason": choice["finish_reason"] or "stop"} for choice in document["choices"]
    ]
    parse_completion({**document, "choices": choices})


def _parse_event(document: Document) -> None:
    if "error" in document and "object" not in document:
        parse_error(document)
    elif document.get("object") == "fine_tuning.job.event":
        parse(FineTuningJobEvent, document, EXTENSIONS)
    elif "type" in document:
        parse_response_event(document)
    else:
        _parse_chunk(document)


def parse_error(document: Document) -> None:
    """Validate the body of an error."""
    assert document.keys() == {"error"}
    parse(ErrorObject, document["error"], set())


def _parse_items(document: Document) -> None:
    # The API has no ids for an empty page, although the SDK's type requires them.
    ids = {} if document["data"] else {"first_id": "", "last_id": ""}
    parse(ResponseItemList, {**document, **ids}, EXTENSIONS)


def _parse_compaction(document: Document) -> None:
    parse(open_responses.CompactResource, document, OPENAI_FIELDS)
    # OpenAI returns messages of users, for which the SDK's type of the list has no place.
    *messages, compaction = document["output"]
    parse(CompactedResponse, {**document, "output": [compaction]}, EXTENSIONS)
    for message in messages:
        parse_item(message)


def _parse_models(document: Document) -> None:
    assert document.keys() == {"object", "data"}
    for model in document["data"]:
        parse(Model, model, EXTENSIONS)


def _parse_files(document: Document) -> None:
    assert document.keys() == {"object", "data", "first_id", "last_id", "has_more"}
    for file in document["data"]:
        parse(FileObject, file, EXTENSIONS)


def _list_of(kind: Any, *other_fields: str) -> Callable[[Document], object]:
    """Return a validator of pages, which the SDK's cursor pages read."""

    def validate(document: Document) -> None:
        assert document.keys() == {"object", "data", "has_more", *other_fields}
        assert (document["object"], type(document["has_more"])) == ("list", bool)
        for item in document["data"]:
            parse(kind, item, EXTENSIONS)

    return validate


def _sdk(kind: Any) -> Callable[[Document], object]:
    return lambda document: parse(kind, document, EXTENSIONS)


# The first pattern that matches method and path decides.
_DOCUMENTS: list[tuple[re.Pattern[str], Callable[[Document], object]]] = [
    (re.compile(pattern), validate)
    for pattern, validate in (
        (r"POST /v1/chat/completions", _sdk(ChatCompletion)),
        (r"POST /v1/completions", parse_completion),
        (r"POST /v1/embeddings", _parse_embeddings),
        (r"POST /v1/files|GET /v1/files/[^/]+", _sdk(FileObject)),
        (r"GET /v1/files", _parse_files),
        (r"DELETE /v1/files/[^/]+", _sdk(FileDeleted)),
        (r"GET /v1/models", _parse_models),
        (r"GET /v1/models/.+", _sdk(Model)),
        (r"DELETE /v1/models/.+", _sdk(ModelDeleted)),
        (r"POST /v1/responses/input_tokens", _sdk(InputTokenCountResponse)),
        (r"POST /v1/responses/compact", _parse_compaction),
        (r"POST /v1/responses", parse_response),
        (r"(POST /v1/responses/[^/]+/cancel|GET /v1/responses/[^/]+)", parse_response),
        (r"GET /v1/responses/[^/]+/input_items", _parse_items),
        (r"GET /v1/fine_tuning/jobs", _list_of(FineTuningJob)),
        (
            r"(GET|POST) /v1/fine_tuning/jobs(/[^/]+(/(cancel|pause|resume|checkpoints/[^/]+/publish))?)?",
            _sdk(FineTuningJob),
        ),
        (r"GET /v1/fine_tuning/jobs/[^/]+/events", _list_of(FineTuningJobEvent)),
        (
            r"GET /v1/fine_tuning/jobs/[^/]+/checkpoints",
            _list_of(FineTuningJobCheckpoint, "first_id", "last_id"),
        ),
    )
]


# Reports of health, the document itself, and pages and the administrative API, which have tests of their own.
_OTHERS = ("/health", "/openapi.json", "/admin", "/console", "/api")
_API = re.compile(r"/(v1|tokenize|detokenize)(/.*)?", re.DOTALL)
_EVENT_LINES = ("data: ", "event: ", "id: ", ":")
_DOWNLOAD = re.compile(r"(GET|HEAD) /v1/files/[^/]+/content", re.DOTALL)


def check_answer(method: str, path: str, status: int, content_type: str, body: bytes) -> None:
    """Validate an answer of the API, or the events of it that have arrived. Raises an exception."""
    path = resolve_azure_path(canonical_path(path))[0]
    if content_type.startswith(SSE):
        for data in event_data(body):
            if data != "[DONE]":
                _parse_event(json.loads(data))
    elif path.startswith(_OTHERS) or (method == "HEAD" and not body):
        return
    elif content_type.startswith("application/json"):
        _check_document("GET" if method == "HEAD" else method, path, status, body)
    elif _API.fullmatch(path):
        is_download = status == 200 and _DOWNLOAD.fullmatch(f"{method} {path}")
        is_empty = status == 204 and method == "OPTIONS" and not body
        assert is_download or is_empty, f"an answer of the type {content_type!r} instead of JSON"


def _check_document(method: str, path: str, status: int, body: bytes) -> None:
    if status >= 400:
        parse_error(json.loads(body))
    else:
        for pattern, validate in _DOCUMENTS:
            if pattern.fullmatch(f"{method} {path}"):
                validate(json.loads(body))
                return
        # Of vLLM's and our own endpoints there is no SDK. The document needs Django's models.
        from tests.openapi_validation import document_faults

        faults = document_faults(method, path, status, body)
        assert not faults, faults[0]


def event_data(body: bytes) -> Iterator[str]:
    """Return the data of each whole event. Raises AssertionError for lines that belong to no event."""
    *blocks, _ = body.decode(errors="replace").split("\n\n")
    for block in blocks:
        for line in block.split("\n"):
            assert line.startswith(_EVENT_LINES), f"no line of an event: {line[:200]!r}"
        lines = [line.removeprefix("data: ") for line in block.split("\n") if line.startswith("data: ")]
        if lines:
            yield "\n".join(lines)
