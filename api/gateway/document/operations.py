"""What the OpenAPI document says of each route beyond the table: its answers and its errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from api.openai.responses import answers as response_answers
from api.openai.responses.parameters import REFUSED as REFUSED_RESPONSES
from api.openai.schemas import answers
from api.openai.schemas.parameters import (
    REFUSED_CHAT,
    REFUSED_COMPLETIONS,
    REFUSED_EMBEDDINGS,
    REFUSED_TOKENIZE,
)

Codes = frozenset[str]

HTTP: Codes = frozenset(
    {
        *("invalid_http_request", "head_timeout", "headers_too_large", "expectation_failed"),
        *("http_version_not_supported", "method_not_allowed", "gateway_stopping", "internal_error"),
    }
)
KEY: Codes = frozenset(
    {
        *("missing_api_key", "invalid_authorization", "invalid_api_key", "key_revoked", "key_expired"),
        *("tenant_inactive", "insufficient_scope", "database_unavailable"),
    }
)
BODY: Codes = frozenset(
    {
        *("unsupported_media_type", "request_too_large", "client_timeout", "overloaded"),
        *("invalid_json", "duplicate_key", "json_too_deep", "json_too_complex"),
        *("missing_required_parameter", "unknown_parameter", "unsupported_parameter", "unsupported_value"),
        *("invalid_type", "invalid_value", "invalid_request"),
        *("integer_below_min_value", "integer_above_max_value"),
        *("decimal_below_min_value", "decimal_above_max_value"),
        *("string_below_min_length", "string_above_max_length", "empty_array", "array_above_max_length"),
        "object_above_max_properties",
    }
)
ENGINE: Codes = frozenset(
    {
        *("model_not_found", "unsupported_model", "context_length_exceeded", "answer_too_large"),
        *("no_worker_available", "redis_unavailable"),
        *("worker_lost", "events_lost", "upstream_error", "engine_error"),
        *("queue_timeout", "first_token_timeout", "inter_token_timeout", "total_timeout", "upstream_timeout"),
    }
)
# Of a request that outlives its connection; as a status only before its first event.
DETACHED: Codes = frozenset({"too_many_streams", "request_cancelled", "stream_lost"})
KEPT: Codes = frozenset({"stream_not_found", "redis_unavailable"})
RESPONSE: Codes = frozenset({"response_not_found", "redis_unavailable"})
# No operation of the API ends in these: nobody is left to hear the first, the second is for Django's pages.
ELSEWHERE: Codes = frozenset({"client_disconnected", "forbidden"})


@dataclass(frozen=True, slots=True)
class Description:
    """``answer``: the body of a success, ``event``: the data of each event where it is a stream.

    ``errors``: those beyond what every route, every key and every body may bring. ``refused``: parameters
    that are known and refused, each with the reason. ``not_ready``: a body of status 503 that is no error.
    """

    summary: str
    answer: type[BaseModel] | None = None
    event: type[BaseModel] | None = None
    errors: Codes = frozenset()
    refused: Mapping[str, str] = field(default_factory=dict)
    not_ready: type[BaseModel] | None = None


OPERATIONS: Mapping[tuple[str, str], Description] = {
    ("POST", "/v1/chat/completions"): Description(
        "Answer a conversation.",
        answers.ChatCompletion,
        answers.ChatCompletionChunk,
        ENGINE | DETACHED,
        REFUSED_CHAT,
    ),
    ("POST", "/v1/completions"): Description(
        "Continue a text.", answers.Completion, answers.Completion, ENGINE | DETACHED, REFUSED_COMPLETIONS
    ),
    ("POST", "/v1/embeddings"): Description(
        "Make vectors of texts.", answers.EmbeddingList, errors=ENGINE, refused=REFUSED_EMBEDDINGS
    ),
    **dict.fromkeys(
        (("POST", "/tokenize"), ("POST", "/v1/tokenize")),
        Description(
            "Turn a text or a conversation into token ids.",
            answers.Tokenized,
            errors=ENGINE,
            refused=REFUSED_TOKENIZE,
        ),
    ),
    **dict.fromkeys(
        (("POST", "/detokenize"), ("POST", "/v1/detokenize")),
        Description("Turn token ids into text.", answers.Detokenized, errors=ENGINE),
    ),
    ("GET", "/v1/models"): Description("List the models that this key may use now.", answers.ModelList),
    ("GET", "/v1/models/{model}"): Description(
        "Show one model, by its name or an alias.", answers.Model, errors=frozenset({"model_not_found"})
    ),
    ("POST", "/v1/responses"): Description(
        "Answer input items, continue a conversation, in the background if asked to.",
        response_answers.Response,
        response_answers.ResponseEvent,
        ENGINE | DETACHED | {"previous_response_not_found"},
        REFUSED_RESPONSES,
    ),
    ("GET", "/v1/responses/{id}"): Description(
        "Show a stored response, or its events from any of them on.",
        response_answers.Response,
        response_answers.ResponseEvent,
        RESPONSE | {"events_expired", "total_timeout"},
    ),
    ("DELETE", "/v1/responses/{id}"): Description(
        "Delete a stored response; cancel it if it is still being made.",
        response_answers.ResponseDeleted,
        errors=RESPONSE,
    ),
    ("POST", "/v1/responses/{id}/cancel"): Description(
        "Cancel a response in the background.",
        response_answers.Response,
        errors=RESPONSE | {"response_not_cancellable"},
    ),
    ("GET", "/v1/responses/{id}/input_items"): Description(
        "List what a response was made of.", response_answers.InputItemList, errors=RESPONSE
    ),
    ("GET", "/v1/streams/{id}"): Description(
        "Read a resumable stream from any of its events on.",
        event=response_answers.StreamData,
        errors=KEPT | {"events_expired", "total_timeout"},
    ),
    ("DELETE", "/v1/streams/{id}"): Description(
        "Cancel a resumable stream and forget it.", answers.StreamDeleted, errors=KEPT
    ),
    ("POST", "/v1/streams/{id}/cancel"): Description(
        "Cancel a resumable stream, wherever it runs.", answers.StreamState, errors=KEPT
    ),
    ("GET", "/health/live"): Description("Tell whether the process turns.", answers.LiveReport),
    ("GET", "/health/ready"): Description(
        "Tell whether requests can be served.", answers.ReadyReport, not_ready=answers.ReadyReport
    ),
    ("GET", "/openapi.json"): Description("This document."),
}

# Of parameters in addresses. A name that contains slashes is written as it is.
PARAMETERS: Mapping[str, Mapping[str, Any]] = {
    "model": {"type": "string", "minLength": 1},
    "id": {"type": "string", "minLength": 1, "pattern": "^[^/]+$"},
    "starting_after": {"type": "integer", "minimum": 0},
    "stream": {"type": "boolean"},
    "include_obfuscation": {"const": False},
    "limit": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
    "order": {"enum": ["asc", "desc"], "default": "desc"},
    "after": {"type": "string"},
}
